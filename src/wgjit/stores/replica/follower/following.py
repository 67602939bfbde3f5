"""Keeps the replica like the registry of record: the copy, and then what is new, again and again.

One thread does both, one after the other. So a range of keys is written before anything newer is read, and no row is
taken back to an older state.
"""

from __future__ import annotations

import sqlite3
import threading
import time

from wgjit.errors import StoreError
from wgjit.stores.replica.follower import file as rows
from wgjit.stores.replica.follower import reading
from wgjit.stores.replica.follower.file import File
from wgjit.stores.replica.follower.reading import Row, State
from wgjit.stores.replica.follower.report import Report
from wgjit.stores.replica.follower.servers import Server
from wgjit.stores.replica.follower.snapshot import Snapshot
from wgjit.stores.sqlite.rows import holding_rows

RANGE = 50_000
"""Peers of a range that is copied at once."""

TURN = 0.5
"""Seconds of copying between two readings of what is new."""

BACK_OFF = 1.5
"""Greatest pause after an error, seconds."""

QUIET = 2.5
"""Seconds for which a standby that is not behind may have nothing to repeat: gateways beat every two seconds."""

NOTED = 5.0
"""Seconds after which the place is written, if nothing else is."""

CHUNK = 2000
"""Rows that are compared in one transaction."""


class Following:
    """See the head of this file. `run` is the thread's work; it never returns."""

    def __init__(self, file: File, read: Server, primary: Server, report: Report, *, gateway: str, poll: float) -> None:
        self._file = file
        self._read = read
        self._primary = primary
        self._report = report
        self._gateway = gateway
        self._poll = poll
        self._wake = threading.Event()
        self._wanted_until = 0.0
        values = file.values()
        self._record: bytes | None = values.get("record")
        self._timeline: str | None = values.get("timeline")
        self._place = Snapshot.parse(values["snapshot"]) if values.get("snapshot") else None
        self._copied: bytes | None = values.get("copied")
        """The last key that was copied; None if no copy is under way."""
        self._loaded: int = values.get("loaded") or 0
        self._is_repair: bool = bool(values.get("is_repair"))
        self.polls = 0
        """Readings of what is new, since the process began."""
        self._news = False
        self._fresh_at = time.monotonic()
        self._standby_lag = 0.0
        self._primary_timeline: str | None = None
        self._collected: list[tuple[str, list[Row]]] = []
        self._count = 0
        self._noted_at = 0.0
        is_whole = self._place is not None and (self._copied is None or self._is_repair)
        self._report.set(stage=self._stage(), complete=is_whole, copied=self._loaded, trouble=None)

    def run(self) -> None:
        """Follow for ever."""
        pause = self._poll
        while True:
            try:
                self.round()
                pause = self._poll if self._copied is None else 0.0
            except (StoreError, sqlite3.Error) as error:
                self._report.set(trouble=str(error))
                pause = min(max(2 * pause, self._poll), BACK_OFF)
            self._wake.wait(pause)
            self._wake.clear()

    def wake(self) -> None:
        """Read what is new at once."""
        self._wake.set()

    def let_write(self, seconds: float) -> None:
        """Stay away from the file for so long: the gateway wants to write."""
        self._wanted_until = time.monotonic() + seconds

    def primary_is_on(self, timeline: str) -> None:
        """The primary is on this timeline. Another one than before means that a server has taken another's place."""
        self._primary_timeline = timeline

    def lag(self) -> float | None:
        """Seconds by which the replica is behind. None while the first copy is made."""
        if self._copied is not None and not self._is_repair:
            return None
        return time.monotonic() - self._fresh_at + self._standby_lag

    def round(self) -> None:
        """Read what is new, and copy for a while if a copy is under way."""
        began = time.monotonic()
        server = self._read
        try:
            self._follow(server)
        except StoreError:
            if server is self._primary:
                raise
            server = self._primary
            self._follow(server)
        self._report.set(trouble=None, reads_primary=server is self._primary)
        self._fresh_at = began
        self._report.set(fresh_at=began)
        end = time.monotonic() + TURN
        while self._copied is not None and time.monotonic() < end:
            self._copy(server)

    # --- what is new --------------------------------------------------------------------------------------------

    def _follow(self, server: Server) -> None:
        self._forget_collected()
        with server.look() as (db, extend):
            if self._place is None:
                self._begin(reading.state(db), is_repair=False)
                return
            reading.news(db, self._place, self._check, self._apply, extend)
        self.polls += 1

    def _check(self, said: State) -> bool:
        """Whether the registry goes on. If not, a copy begins."""
        self._standby_lag = 0.0 if said.replayed is None else max(0.0, said.replayed - QUIET)
        self._report.set(lag=round(self._standby_lag, 3))
        if said.identity != self._record:
            self._begin(said, is_repair=False)
            return False
        timeline = said.timeline or self._primary_timeline
        if timeline is not None and timeline != self._timeline:
            was, self._timeline = self._timeline, timeline
            if was is not None:
                self._begin(said, is_repair=True)
                return False
            self._file.set({"timeline": timeline})
        return True

    def _begin(self, said: State, *, is_repair: bool) -> None:
        """Begin a copy: of another registry, or of this one after a server has taken the place of another."""
        is_repair = is_repair and (self._copied is None or self._is_repair)  # a first copy that breaks off begins anew
        snapshot = Snapshot(said.snapshot.xmin, said.snapshot.xmin) if said.is_standby else said.snapshot
        values = {
            "record": said.identity,
            "timeline": said.timeline or self._primary_timeline,
            "snapshot": str(snapshot),
            "copied": b"",
            "loaded": 0,
            "is_repair": int(is_repair),
        }
        self._file.set(values)
        self._record, self._timeline, self._place = said.identity, values["timeline"], snapshot  # type: ignore[assignment]
        self._copied, self._loaded, self._is_repair = b"", 0, is_repair
        self._report.set(stage=self._stage(), copied=0, complete=is_repair)

    def _stage(self) -> str:
        if self._place is None:
            return "connecting"
        return "following" if self._copied is None else "repairing" if self._is_repair else "copying"

    def _apply(self, table: str, new: list[Row]) -> None:
        """Collect rows, and write them when there are enough, or when all are there: then with the place."""
        if table == "place":
            (place,) = new[0]
            now = time.monotonic()
            is_due = self._collected or (place != self._place and now - self._noted_at >= NOTED)
            self._place = place
            if is_due:
                self._write_collected({"snapshot": str(place)})
                self._noted_at = now
            if self._news:
                self._news = False
                self._report.news()
            return
        for start in range(0, len(new), CHUNK):
            some = new[start : start + CHUNK]
            self._collected.append((table, some))
            self._count += len(some)
            if self._count >= CHUNK:
                self._write_collected({})

    def _write_collected(self, values: dict[str, object]) -> None:
        self._yield()
        with self._file.writing() as db:
            news = [self._apply_some(db, table, some) for table, some in self._collected]
            rows.set_values(db, values)
        self._news |= any(news)
        self._forget_collected()

    def _forget_collected(self) -> None:
        self._collected, self._count = [], 0

    def _apply_some(self, db: sqlite3.Connection, table: str, some: list[Row]) -> bool:
        """Write some rows. Returns whether the gateway has to know."""
        if table == "resets":
            rows.reset(db, [key for key, _ in some])
            rows.drop_peers(db, [key for key, is_registered in some if not is_registered])
        elif table == "removed":
            rows.drop_peers(db, [key for key, _, is_registered in some if not is_registered])
            rows.put_removed(db, some)
        elif table == "claims":
            rows.put_claims(db, some)
            self._say_again(db, "claim", [row for row in some if row[2] != self._gateway])
            return False
        elif table == "holdings":
            self._say_again(db, "holding", [row for row in some if row[3] != self._gateway])
            return rows.put_holdings(db, some) > 0
        else:
            return rows.put_peers(db, some) > 0
        return True

    def _say_again(self, db: sqlite3.Connection, what: str, some: list[Row]) -> None:
        """A smaller one of another gateway is in the registry of record: say this gateway's own again."""
        query = f"SELECT 1 FROM {what}s WHERE public_key = ? AND gateway = ?"
        for key in rows.greater_here(db, what, some):
            if db.execute(query, (key, self._gateway)).fetchone():
                holding_rows.queue(db, what, [key])

    # --- the copy -----------------------------------------------------------------------------------------------

    def _copy(self, server: Server) -> None:
        """Copy the next range of keys."""
        assert self._copied is not None
        after = self._copied
        with server.view() as (db, extend):
            last = reading.key_after(db, after, RANGE)
            for table in ("claims", "holdings", "removed", "peers"):
                low = after
                for some in reading.of_range(db, table, after, last, extend):
                    self._compare(table, low, some[-1][0], some)
                    low = some[-1][0]
                self._compare(table, low, last, [])
        self._copied = last
        values: dict[str, object] = {"copied": last, "loaded": self._loaded}
        self._file.set(values)
        self._report.set(copied=self._loaded)
        if last is None:
            self._report.set(stage="following", complete=True)
            self._report.news()

    def _compare(self, table: str, after: bytes, last: bytes | None, some: list[Row]) -> None:
        """Have these rows of a table, and no other ones, with keys after `after` and up to `last`."""
        done = False
        while not done:
            part = some[:CHUNK]
            end = last if len(some) <= CHUNK else part[-1][0]
            self._yield()
            with self._file.writing() as db:
                here = keys_here(db, table, after, end)
                if len(here) == 2 * CHUNK:  # many that the registry does not have
                    end = here[-1]
                    part = [row for row in part if row[0] <= end]
                self._compare_some(db, table, set(here), part)
            if table == "peers":
                self._loaded += len(part)
            some = some[len(part) :]
            done = end == last
            after = end or after

    def _compare_some(self, db: sqlite3.Connection, table: str, here: set[bytes], some: list[Row]) -> None:
        surplus = list(here.difference(row[0] for row in some))
        if table == "peers":
            rows.drop_peers(db, surplus)
            rows.put_peers(db, some)
        elif table == "removed":
            rows.put_removed(db, some)
        elif table == "claims":
            rows.put_claims(db, some)
            holding_rows.queue(db, "claim", [*surplus, *rows.greater_here(db, "claim", some)])
        else:
            rows.put_holdings(db, some)
            holding_rows.queue(db, "holding", [*surplus, *rows.greater_here(db, "holding", some)])

    def _yield(self) -> None:
        """Let the gateway write first, if it wants to."""
        while (rest := self._wanted_until - time.monotonic()) > 0:
            time.sleep(rest)


def keys_here(db: sqlite3.Connection, table: str, after: bytes, last: bytes | None) -> list[bytes]:
    """The first 2 * CHUNK keys of a table after a key and up to another (None: to the end), in order."""
    bound, values = ("", [after]) if last is None else (" AND public_key <= ?", [after, last])
    query = f"SELECT public_key FROM {table} WHERE public_key > ?{bound} ORDER BY public_key LIMIT {2 * CHUNK}"
    return [key for (key,) in db.execute(query, values)]
