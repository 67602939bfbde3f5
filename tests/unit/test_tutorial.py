"""docs/TUTORIAL.md does what it says: its commands, in order, in an empty folder, print what is shown below them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/TUTORIAL.md"
STEPS = re.findall(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each step printed, on both streams."""
    folder = tmp_path_factory.mktemp("tutorial")
    shell = shutil.which("bash")
    assert shell
    script = "set -eu\n" + "".join(
        f"{{\n{commands}}} > {folder}/.{number} 2>&1 < /dev/null\n" for number, (commands, _) in enumerate(STEPS)
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WGJIT_")}
    environment = {
        **clean,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    subprocess.run([shell, "-c", script], cwd=folder, env=environment, check=False)
    printed = [folder / f".{number}" for number in range(len(STEPS))]
    return [path.read_text() if path.exists() else "(not reached)" for path in printed]


def matches(line: str, shown: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), line) is not None


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step_prints_what_the_page_shows(outputs: list[str], number: int) -> None:
    commands, shown = STEPS[number]
    lines = iter(outputs[number].splitlines())
    for expected in shown.splitlines():
        assert any(matches(line, expected) for line in lines), f"{commands}\nno line {expected!r} in\n{outputs[number]}"


def test_the_page_shows_every_verb() -> None:
    text = "".join(commands for commands, _ in STEPS)
    for verb in ("add", "list", "find", "show", "set", "enable", "disable", "rotate", "remove", "import", "export"):
        assert f"wgjit peer {verb}" in text
    assert sum(bool(shown) for _, shown in STEPS) >= 8
