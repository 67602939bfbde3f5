"""The firewall rules that send knocks to our queue, whatever program makes them.

Both kinds are harmless when their owner is gone: a rule whose queue nobody holds is passed over (`bypass`).
"""

from __future__ import annotations

import subprocess
from typing import Protocol

from wgjit.errors import CaptureError


class QueueRules(Protocol):
    """Rules for one interface's port. Raises CaptureError, NotPermitted."""

    def install(self) -> None:
        """Put the rules in force, in one step in place of what a dead predecessor left."""

    def heartbeat(self) -> None:
        """Say that the owner is alive; puts the rules back if somebody flushed them, where that can be seen."""

    def asked(self) -> int:
        """How many packets were for the queue, those that a limit in the rules let pass by it too."""

    def disarm(self) -> None:
        """Send nothing more to the queue. What waits there still can get its verdict."""

    def remove(self) -> None:
        """Take back what is left of the rules; harmless if they are gone."""


def run(*argv: str, stdin: str = "") -> str:
    """Run a firewall program and give its output. Raises CaptureError with its own words."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise CaptureError(f"{argv[0]}: not installed") from None
    except OSError as error:
        raise CaptureError(f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise CaptureError(f"{argv[0]}: no answer in 30 s; does another program hold the firewall's lock?") from None
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        # nft repeats the script below the line that says what is wrong
        raise CaptureError(f"{argv[0]}: {next((line for line in lines if 'rror' in line), lines[0])}")
    return done.stdout
