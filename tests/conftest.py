"""For all tests. SIGTERM ends a run as an interrupt does, so that fixtures take back what they made."""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from lab.netns import Lab
from wgjit.drivers.capture import rules_nft

pytest.register_assert_rewrite("tests.contracts")

PERMITTED_SKIPS: frozenset[str] = frozenset()
"""Node ids that may be skipped where CI=true. Each needs a comment that says why."""

_skipped: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"signal {number}")

    signal.signal(signal.SIGTERM, stop)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section(f"SKIPPED: {len(_skipped)}", red=True, bold=True)
        for node in _skipped:
            terminalreporter.line(f"{node}{' (permitted)' if node in PERMITTED_SKIPS else ''}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that nobody permitted fails the run where nobody looks."""
    if os.environ.get("CI") == "true" and set(_skipped) - PERMITTED_SKIPS and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty lab, taken back after the test."""
    with Lab() as made:
        yield made


@pytest.fixture
def patient_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dead-man switch goes off because the machine is busy and a test slow: held is what a test wants held."""
    monkeypatch.setattr(rules_nft, "DEAD_AFTER", 600)
