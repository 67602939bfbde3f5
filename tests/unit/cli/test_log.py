"""The log of what serves, and its word that it is ready."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from wgjit.cli.shared.log import set_up_log
from wgjit.stderr import LossyStream


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class Unwritable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def test_an_event_that_cannot_be_written_is_told_of_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", LossyStream(2))
    log = set_up_log(False)
    log.warning("odd", value=Unwritable())
    log.warning("odd, too", **{"a key with spaces": 1})
    log.warning("even", value=1)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == 'level=warning event="odd" unwritable=RuntimeError'
    assert lines[1].startswith('level=warning event="odd, too" unwritable=')
    assert lines[2].endswith("event=even value=1")


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_ready_line_that_nobody_reads_is_no_failure(redirection: str) -> None:
    program = "import wgjit.stderr as s; s.hold_places(); from wgjit.cli.shared.log import announce; announce('ready')"
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
