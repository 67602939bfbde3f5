"""Pages whose commands are run: in order, in an empty folder; each step prints what is shown below it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

Step = tuple[str, str]
"""Commands, and what is shown of their output."""


def steps(page: Path) -> list[Step]:
    """The steps of a page."""
    return re.findall(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", page.read_text(), re.MULTILINE | re.DOTALL)


def outputs(of: list[Step], folder: Path) -> list[str]:
    """What each step printed, on both streams."""
    shell = shutil.which("bash")
    assert shell
    script = "set -eu\n" + "".join(
        f"{{\n{commands}}} > {folder}/.{number} 2>&1 < /dev/null\n" for number, (commands, _) in enumerate(of)
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WGJIT_")}
    environment = {
        **clean,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    subprocess.run([shell, "-c", script], cwd=folder, env=environment, check=False)
    printed = [folder / f".{number}" for number in range(len(of))]
    return [path.read_text() if path.exists() else "(not reached)" for path in printed]


def check(step: Step, output: str) -> None:
    """Every line that is shown was printed, in this order; `...` stands for anything."""
    commands, shown = step
    lines = iter(output.splitlines())
    for expected in shown.splitlines():
        assert any(_matches(line, expected) for line in lines), f"{commands}\nno line {expected!r} in\n{output}"


def _matches(line: str, shown: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), line) is not None
