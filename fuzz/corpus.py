"""The committed inputs: `corpus/NAME.hex`, one input per line in hex. A line that begins with # names the next input.

The files are text, so that an input can be added by pasting the hex of a crash, and can be reviewed. Named inputs were
recorded from WireGuard or from the kernel, or once broke something. A fuzzer found the others, which reach more code.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "corpus"


class Input(NamedTuple):
    data: bytes
    about: str = ""
    """What it is, if it has a name."""


def load(name: str) -> list[Input]:
    """The committed inputs of a fuzzer. Raises FileNotFoundError, ValueError for a line that is not hex."""
    inputs: list[Input] = []
    about: list[str] = []
    for line in _path(name).read_text().splitlines():
        if line.startswith("#"):
            about.append(line.removeprefix("#").strip())
        else:
            inputs.append(Input(bytes.fromhex(line), "\n".join(about)))
            about = []
    return inputs


def save(name: str, inputs: Iterable[Input]) -> None:
    """Write them: the named ones as they come, the others after them, short ones first."""
    lines = []
    for data, about in sorted(inputs, key=lambda one: (0, b"") if one.about else (1 + len(one.data), one.data)):
        lines += [f"# {line}" for line in about.splitlines()]
        lines.append(data.hex())
    _path(name).write_text("\n".join(lines) + "\n")


def _path(name: str) -> Path:
    return _FOLDER / f"{name}.hex"
