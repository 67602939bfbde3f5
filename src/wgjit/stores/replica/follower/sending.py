"""Hands on what the gateway says: the outbox of the replica, to the registry of record.

What is said stays in the outbox until the registry of record has it. It is said as it is when it is sent, so a key's
claim is sent once, however often it was said meanwhile. What lost is answered with what won, which goes into the
replica at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from wgjit.errors import StoreError
from wgjit.stores import packing
from wgjit.stores.postgresql.rows import claim_rows
from wgjit.stores.replica.follower import file as rows
from wgjit.stores.replica.follower.file import File
from wgjit.stores.replica.follower.report import Report
from wgjit.stores.replica.follower.servers import Server

BATCH = 1000
"""Claims and holdings that are sent at once."""

IDLE = 1.0
"""Seconds after which the outbox is looked at without a nudge."""

READING = 20.0
"""Seconds after which what is queued is sent, although the registry cannot be read."""

BACK_OFF = 1.5
"""Greatest pause after an error, seconds."""


class Sending:
    """See the head of this file. `run` is the thread's work; it never returns."""

    def __init__(self, file: File, primary: Server, report: Report, polls: Callable[[], int]) -> None:
        """`polls`: how often the registry was read; it grows."""
        self._file = file
        self._primary = primary
        self._report = report
        self._polls = polls
        self._nudged = threading.Event()
        self._lock = threading.Lock()

    def nudge(self) -> None:
        """Something was said."""
        self._nudged.set()

    def run(self) -> None:
        """Send for ever."""
        pause, since = 0.0, 0
        while True:
            self._nudged.wait(IDLE)
            self._nudged.clear()
            try:
                self._wait_for_reading(since)
                while self.send():
                    pass
                self._report.set(saying_fails=None)
                pause, since = 0.0, -1
            except StoreError as error:
                since = self._polls()
                self._report.set(saying_fails=error.told, outbox=self._length())
                pause = min(max(2 * pause, 0.1), BACK_OFF)
                time.sleep(pause)
                self._nudged.set()

    def send(self) -> bool:
        """Send the oldest of the outbox. Returns whether there may be more. Raises StoreError."""
        with self._lock:
            with self._file.reading() as db:
                claims, holdings, number = rows.unsaid(db, BATCH)
            if number == 0:
                self._report.set(outbox=0)
                return False
            with self._primary.look() as (record, _):
                saved, held = claim_rows.save_said(record, claims, holdings)
                lost = [each.public_key for each in claims if each.public_key not in saved]
                greater = claim_rows.greater_claims(record, lost) if lost else []
                lost = [each.public_key for each in holdings if each.public_key not in held]
                holders = claim_rows.greater_holdings(record, lost) if lost else []
            with self._file.writing() as db:
                db.execute("DELETE FROM outbox WHERE seq <= ?", (number,))
                rows.put_claims(db, [packing.claim_row(claim) for claim in greater])
                known = saved | held | {each.public_key for each in greater} | {each.public_key for each in holders}
                told = [each.public_key for each in claims] + [each.public_key for each in holdings]
                rows.forget_unknown(db, set(told) - known)
                won = [packing.holding_row(each) for each in holders]
                news = len(rows.put_holdings(db, won)) < len(won)
                (left,) = db.execute("SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT 100000)").fetchone()
            self._report.add(said=len(claims) + len(holdings), lost=len(greater) + len(holders))
            self._report.set(outbox=left)
            if news:
                self._report.news()
            return bool(left)

    def _wait_for_reading(self, since: int) -> None:
        """After a time without the registry, read first what people have reset there, or it would be said again."""
        end = time.monotonic() + READING
        while self._polls() <= since and time.monotonic() < end:
            time.sleep(0.02)

    def _length(self) -> int | None:
        try:
            with self._file.reading() as db:
                (number,) = db.execute("SELECT count(*) FROM outbox").fetchone()
            return int(number)
        except StoreError:
            return None
