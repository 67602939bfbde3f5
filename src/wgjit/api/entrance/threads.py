"""The threads that work on the registry: some for each kind of work, so that none waits for another kind.

| kind           | threads         | who                                                                        |
| -------------- | --------------- | -------------------------------------------------------------------------- |
| authentication | `AUTHENTICATION` | tokens, also those of requests under way; health; the change log           |
| reading        | `READING`       | GET; `SHARE` of them of one caller                                         |
| writing        | `WRITING`       | all else: SQLite lets in one writer at a time; `WRITING_SHARE` of one caller |
| import         | `IMPORT`        | a piece of an import at a time: no thread waits for a sender               |

All of these share one interpreter lock, so more of them would not make more of it.
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
"""How many may have a registry open at once."""


@dataclass
class Threads:
    """Who may be on a thread. Use it on one event loop."""

    authentication: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AUTHENTICATION))
    imports: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(IMPORT))
    reading: Turns = field(default_factory=lambda: Turns(READING, SHARE))
    writing: Turns = field(default_factory=lambda: Turns(WRITING, WRITING_SHARE))

    @staticmethod
    def set_up() -> None:
        """Let the framework's own pool have as many threads as there are turns for."""
        to_thread.current_default_thread_limiter().total_tokens = READING + WRITING
