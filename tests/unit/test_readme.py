"""A newcomer's first ten minutes: the pages' own configurations serve the pages' own commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.contracts.store import key
from tests.unit.cli.conftest import Run, store, wgjit
from wgjit.config.environment import VARIABLES
from wgjit.model import PrivateKey

ROOT = Path(__file__).parents[2]
README, INSTALL, REMOTE = (ROOT / name for name in ("README.md", "docs/INSTALL.md", "docs/REMOTE.md"))

__all__ = ["store", "wgjit"]  # fixtures


def commands(page: Path) -> list[list[str]]:
    """What a page has people do with a registry, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if re.match(r"wgjit (peer|claim) ", line)]


def configurations() -> list[tuple[str, Path]]:
    """The configurations with which these commands are shown, and their pages."""
    (readme,) = re.findall(r"<<'END'\n(.*?)^END", README.read_text(), re.MULTILINE | re.DOTALL)
    install = re.findall(r"^```toml\n(.*?)^```", INSTALL.read_text(), re.MULTILINE | re.DOTALL)
    assert len(install) == 2
    return [(readme, README), *((text, INSTALL) for text in install)]


@pytest.mark.parametrize(
    ("text", "page"), configurations(), ids=["README", "INSTALL", "INSTALL, of another's interface"]
)
def test_every_command_works_with_the_pages_own_configuration(
    wgjit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, page: Path
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WGJIT_STORE", str(tmp_path / "wg0.db"))
    (tmp_path / "wg0.key").write_text(PrivateKey.generate().reveal_base64())
    (tmp_path / "wg0.toml").write_text(text.replace("/etc/wgjit", str(tmp_path)))
    monkeypatch.setenv("WGJIT_CONFIG", str(tmp_path / "wg0.toml"))
    shown = [words for words in commands(page) if "KEY" not in words or words[:2] == ["peer", "add"]]
    assert len([words for words in shown if words[:2] == ["peer", "add"]]) >= 2
    for words in shown:
        status, _, err = wgjit(*(str(key(7)) if word == "KEY" else word for word in words))
        assert (status, err if status else "") == (0, ""), words
    assert wgjit("peer", "add", "one-more")[0] == 0


def test_the_setting_of_which_a_page_speaks_first_is_in_its_example() -> None:
    text = REMOTE.read_text()
    section, name = re.findall(r"With `(\w+)\.(\w+)`", " ".join(text.partition("```")[0].split()))[0]
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert name in tomllib.loads(example)[section]


# --- what an installation gets ----------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, set[str]]:
    """The versions in a lock (`httpx==0.28.1`), and their hashes."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
        if not block.startswith("#"):
            found[block.split()[0]] = set(re.findall(r"--hash=(\S+)", block))
    return found


def test_an_installation_has_the_versions_that_the_tests_run_with() -> None:
    ours, tested = locked("install.lock"), locked("requirements.lock")
    assert ours
    assert all(hashes for hashes in ours.values())
    assert [version for version, hashes in ours.items() if tested.get(version) != hashes] == []


def test_the_lock_of_an_installation_has_all_that_it_needs_and_the_page_uses_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    names = {version.partition("==")[0] for version in locked("install.lock")}
    assert {re.split(r"[><=\[ ]", need)[0] for need in needed} - names == set()
    first_step = INSTALL.read_text().partition("```sh")[2].partition("```")[0]
    installs = [line.partition("pip install ")[2] for line in first_step.splitlines() if "pip install" in line]
    assert installs == ["--require-hashes -r install.lock", "--no-deps --no-build-isolation ."]
