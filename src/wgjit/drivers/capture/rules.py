"""The firewall rules that send knocks to wgjit's queue: what nftables and iptables have in common.

Both kinds do no harm when wgjit is gone: a rule is passed over if no program holds its queue (`bypass`).
"""

from __future__ import annotations

import subprocess
from typing import Protocol

from wgjit.errors import CaptureError


class QueueRules(Protocol):
    """Rules for one interface's port. Raises CaptureError, NotPermitted."""

    def install(self) -> None:
        """Put the rules in force in one step. They replace rules that an earlier, dead process left."""

    def heartbeat(self) -> bool:
        """Renew the rules. If another program has taken them away, put them back, within a few calls, and return
        True."""

    def asked(self) -> int:
        """Packets that matched the rules, including packets that a limit in the rules let pass by the queue."""

    def beyond(self) -> int:
        """Packets that a limit in the rules has let pass by the queue, as of the last `asked`."""

    def disarm(self) -> None:
        """Send no more packets to the queue. Packets that wait in it can still get their verdict."""

    def remove(self) -> None:
        """Remove what is left of the rules. Harmless if the rules are gone."""


def run(*argv: str, stdin: str = "") -> str:
    """Run a firewall program and return its output. Raises CaptureError with the program's own error text."""
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
        # nft repeats the script below the line with the error
        raise CaptureError(f"{argv[0]}: {next((line for line in lines if 'rror' in line), lines[0])}")
    return done.stdout
