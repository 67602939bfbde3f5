"""docs/TUTORIAL.md does what it says: its commands, in order, in an empty folder, print what is shown below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit import pages

PAGE = Path(__file__).parents[2] / "docs/TUTORIAL.md"
STEPS = pages.steps(PAGE)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each step printed, on both streams."""
    return pages.outputs(STEPS, tmp_path_factory.mktemp("tutorial"))


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step_prints_what_the_page_shows(outputs: list[str], number: int) -> None:
    pages.check(STEPS[number], outputs[number])


def test_the_page_shows_every_verb() -> None:
    text = "".join(commands for commands, _ in STEPS)
    for verb in ("add", "list", "find", "show", "set", "enable", "disable", "rotate", "remove", "import", "export"):
        assert f"wgjit peer {verb}" in text
    for other in ("audit", "token create", "token list", "token revoke", "config check", "config show"):
        assert f"wgjit {other}" in text
    assert sum(bool(shown) for _, shown in STEPS) >= 8
