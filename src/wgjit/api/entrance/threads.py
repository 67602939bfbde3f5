"""The threads that work on the registry. Each kind of work has its own, so that no kind waits for another.

| kind           | threads          | used for                                                                      |
| -------------- | ---------------- | ----------------------------------------------------------------------------- |
| authentication | `AUTHENTICATION` | tokens, also those of running requests; health; the change log                |
| reading        | `READING`        | GET; one caller gets `SHARE` at most                                          |
| writing        | `WRITING`        | all else; one caller gets `WRITING_SHARE` (SQLite takes one writer at a time) |
| import         | `IMPORT`         | one block of an import at a time; no thread waits for a sender                |

All threads share one interpreter lock, so more threads would not do more work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread

from wgjit.api.entrance.turns import Turns

AUTHENTICATION = 4
READING, SHARE = 12, 4
WRITING, WRITING_SHARE = 4, 2
IMPORT = 2

ALL = AUTHENTICATION + READING + WRITING + IMPORT
"""Threads that may have a registry open at once."""


@dataclass
class Threads:
    """The limits of threads for each kind of work. Use it on one event loop."""

    authentication: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AUTHENTICATION))
    imports: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(IMPORT))
    reading: Turns = field(default_factory=lambda: Turns(READING, SHARE))
    writing: Turns = field(default_factory=lambda: Turns(WRITING, WRITING_SHARE))

    @staticmethod
    def set_up() -> None:
        """Give the framework's own pool as many threads as there are turns for reading and writing."""
        to_thread.current_default_thread_limiter().total_tokens = READING + WRITING
