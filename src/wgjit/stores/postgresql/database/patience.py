"""A connection that waits for the server only so long.

TCP notices a server whose machine is gone. A server that hangs, or is far too slow, keeps its connections, and would
hold every thread that asks it. `statement_timeout` is the server's own promise, which a hanging server does not keep.
"""

from __future__ import annotations

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time. The connection is of no more use."""


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """See the head of this file."""

    patience: float | None = None
    """Seconds to wait for the server's next answer; None waits for ever. After NoAnswer, close the connection."""

    def wait(self, gen: PQGen[T], *how: Any, **more: Any) -> T:
        """As psycopg's own. Raises NoAnswer."""
        return super().wait(gen if self.patience is None else _bounded(gen, self.patience), *how, **more)


def _bounded(gen: PQGen[T], patience: float) -> PQGen[T]:
    """Pass on what psycopg says to `gen`. It says every tenth of a second that nothing came."""
    end = time.monotonic() + patience
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() >= end:
                raise NoAnswer(f"the server does not answer within {patience:g} s")
            state = gen.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result
