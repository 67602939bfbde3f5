"""The gateway's heartbeat: the row in which it describes itself to its fleet.

With it come the difference of the clocks, the other gateways, and the primary's timeline.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from wgjit.errors import StoreError
from wgjit.stores.postgresql.rows import gateway_rows
from wgjit.stores.replica.follower.reading import Row
from wgjit.stores.replica.follower.report import Report
from wgjit.stores.replica.follower.servers import Server
from wgjit.stores.replica.messages import Description

EVERY = 2.0
"""Seconds between two heartbeats."""

DOUBTED = 0.25
"""Seconds between two, while it is not known whether the gateway that has the name lives."""

_SAMPLES = 8
_OTHER = "SELECT address, interface, seen_at FROM wgjit.gateways " \
    "WHERE name = %s"  # fmt: skip
_TIMELINE = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"


class Beating:
    """See the head of this file. `run` is the thread's work; it never returns."""

    def __init__(
        self,
        primary: Server,
        report: Report,
        gateway: Description,
        instance: bytes,
        timeline: Callable[[str], None],
        others: Callable[[list[Row]], None],
    ) -> None:
        """At each heartbeat `timeline` is told the primary's timeline, and `others` the other gateways: name, whether
        it lives, whether it drains, service addresses."""
        self._primary = primary
        self._report = report
        self._gateway = gateway
        self._instance = instance
        self._timeline = timeline
        self._others = others
        self._offsets: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        """Round trip and offset of the last heartbeats, seconds."""
        self._other_seen: float | None = None
        """When the other gateway that has the name was seen first."""
        self._pause = threading.Event()
        self.residents = 0
        self.draining = False
        self.lag: Callable[[], float | None] = lambda: None

    def run(self) -> None:
        """Beat for ever."""
        while True:
            try:
                self.beat()
            except StoreError as error:
                self._report.set(beat="failed", beating_fails=error.told)
            doubted = self._report.get("beat") == "doubted"
            self._pause.wait(DOUBTED if doubted else EVERY)
            self._pause.clear()

    def hurry(self) -> None:
        """Beat at once, since others have to know something soon."""
        self._pause.set()

    def beat(self) -> None:
        """One heartbeat. Raises StoreError."""
        gateway = self._gateway
        offset = min(self._offsets)[1] if self._offsets else None
        row = (
            gateway.name,
            self._instance,
            gateway.epoch,
            gateway.public_key,
            gateway.interface,
            gateway.address,
            gateway.version,
            self.residents,
            self.lag(),
            offset,
            gateway.epoch / 1000,
            self.draining,
            gateway.service,
        )
        with self._primary.look() as (db, _):
            began, sent = time.monotonic(), time.time()
            seen = db.execute(gateway_rows.BEAT, row).fetchone()
            trip = time.monotonic() - began
            other = None if seen is not None else db.execute(_OTHER, (gateway.name,)).fetchone()
            others = db.execute(gateway_rows.OTHERS, (gateway.name,)).fetchall()
            (timeline,) = db.execute(_TIMELINE).fetchone() or (None,)
        if seen is not None:
            self._other_seen = None
            self._offsets.append((trip, seen[0] - (sent + trip / 2)))
        if timeline is not None:
            self._timeline(timeline)
        self._others([row[:4] for row in others])
        if other is not None and self._other_seen is None:
            self._other_seen = other[2]
        self._report.set(
            beat="ok" if seen is not None else "taken" if self._lives(other) else "doubted",
            beating_fails=None,
            taken_by=other and {"address": other[0], "interface": other[1]},
            other_keys=[row[0] for row in others if row[1] and row[4] != gateway.public_key],
            clock_offset=min(self._offsets)[1] if self._offsets else None,
        )

    def _lives(self, other: tuple[Any, ...] | None) -> bool:
        """Whether the gateway that has the name was seen again. It may be this one, with a replica that was lost."""
        return other is not None and self._other_seen is not None and other[2] > self._other_seen
