"""docs/LOAD.md does what it says: its commands, in order, against a server on loopback that knows its clients."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bench.load.identities import load
from tests.unit import pages
from tests.unit.bench.answering import Server, serving

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/LOAD.md"
STEPS = pages.steps(PAGE)


class Late(Server):
    """Knows the clients that the page's first command makes, once they knock."""

    def __init__(self, path: Path) -> None:
        super().__init__([])
        self._path = path

    def reply(self, message: bytes) -> bytes | None:
        if not self._clients:
            self._clients = {each.private_key.public(): each for each in load(self._path)}
        return super().reply(message)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, programs = tmp_path_factory.mktemp("load"), tmp_path_factory.mktemp("programs")
    command = programs / "wgjit-load"
    command.write_text(f'#!/bin/sh\nWGJIT_VENV={sys.prefix} exec {ROOT}/dev load "$@"\n')
    command.chmod(0o755)
    server = Late(folder / "clients.jsonl")
    with serving(server) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{Path('/usr/bin')}:{Path('/bin')}")
        patch.setenv("SERVER", str(endpoint))
        patch.setenv("KEY", str(server.key.public()))
        return pages.outputs(STEPS, folder)


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step_prints_what_the_page_shows(outputs: list[str], number: int) -> None:
    pages.check(STEPS[number], outputs[number])


def test_the_page_has_every_option_of_run() -> None:
    source = (ROOT / "bench/load/command.py").read_text()
    options = set(re.findall(r'add_argument\("(--[\w-]+)"', source)) | {"--public-server-is-mine"}
    assert len(options) > 10
    assert {option for option in options if option not in PAGE.read_text()} == set()
