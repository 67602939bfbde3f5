"""Keeps the replica like the registry of record: the copy, and then what is new, again and again.

One thread does both, one after the other. So a range of keys is written before anything newer is read, and no row is
taken back to an older state.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

from wgjit.errors import StoreDamaged, StoreError, StoreMissing, StoreUnreachable
from wgjit.stores.replica.follower import file as rows
from wgjit.stores.replica.follower import reading
from wgjit.stores.replica.follower.copy import loading
from wgjit.stores.replica.follower.copy.copying import Copy
from wgjit.stores.replica.follower.file import File
from wgjit.stores.replica.follower.reading import Row, State
from wgjit.stores.replica.follower.report import Report
from wgjit.stores.replica.follower.servers import Server
from wgjit.stores.replica.follower.snapshot import Snapshot
from wgjit.stores.replica.follower.sources import FAR, Sources, behind
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.rows import holding_rows

TURN = 0.5
"""Seconds of copying between two readings of what is new."""

BACK_OFF = 1.5
"""Greatest pause after an error, seconds."""

TOLD = 0.05
"""Seconds until the gateway has read what it was told."""

NOTED = 5.0
"""Seconds after which the place is written, if nothing else is."""

CHUNK = 2000
"""Rows of what is new that are written in one transaction."""


class Following:
    """See the head of this file. `run` is the thread's work; it never returns."""

    def __init__(self, file: File, sources: Sources, report: Report, *, gateway: str, poll: float) -> None:
        self._file = file
        self._sources = sources
        self._report = report
        self._gateway = gateway
        self._poll = poll
        self._wake = threading.Event()
        self._wanted_until = 0.0
        values = file.values()
        self._record: bytes | None = values.get("record")
        self._timeline: str | None = values.get("timeline")
        self._place = Snapshot.parse(values["snapshot"]) if values.get("snapshot") else None
        self._is_repair = bool(values.get("is_repair"))
        self._copy: Copy | None = None
        """The copy under way."""
        with file.reading() as db:
            file.is_loading = loading.is_loading(db)
        if values.get("copied") is not None or file.is_loading:
            self._copy = Copy(file, values.get("copied"), values.get("loaded") or 0, self._make_way)
        self._failed_file: tuple[int, ...] | None = None
        self.polls = 0
        """Readings of what is new, since the process began."""
        self._news = False
        self._fresh_at = time.monotonic()
        self._standby_lag = 0.0
        self._primary_timeline: str | None = None
        self._others: list[Row] | None = None
        """The other gateways, which are to be written."""
        self._collected: list[tuple[str, list[Row]]] = []
        self._count = 0
        self._noted_at = 0.0
        self._tell()
        report.set(trouble=None)

    def run(self) -> None:
        """Follow for ever."""
        pause = self._poll
        while True:
            try:
                self.round()
                pause = self._poll if self._copy is None else 0.0
            except (StoreDamaged, StoreMissing) as error:
                self._report.set(trouble=error.told)
                pause = self._start_anew(pause)
            except (StoreError, sqlite3.Error) as error:
                self._report.set(trouble=str(error))
                pause = min(max(2 * pause, self._poll), BACK_OFF)
            self._wake.wait(pause)
            self._wake.clear()

    def wake(self) -> None:
        """Read what is new at once."""
        self._wake.set()

    def file_fails(self, file: list[int]) -> None:
        """The gateway finds that this file (device and inode) is damaged or gone."""
        self._failed_file = tuple(file)
        self._wake.set()

    def let_write(self, seconds: float) -> None:
        """Stay away from the file for so long: the gateway wants to write."""
        self._wanted_until = time.monotonic() + seconds

    def primary_is_on(self, timeline: str) -> None:
        """The primary is on this timeline. Another one than before means that a server has taken another's place."""
        self._primary_timeline = timeline

    def others_are(self, others: list[Row]) -> None:
        """These are the other gateways of the fleet: name, whether it lives, whether it drains, service addresses."""
        self._others = others

    def lag(self) -> float | None:
        """Seconds by which the replica is behind. None while the first copy is made."""
        if not self._is_whole:
            return None
        return time.monotonic() - self._fresh_at + self._standby_lag

    def round(self) -> None:
        """Read what is new, and copy for a while if a copy is under way."""
        began = time.monotonic()
        self._file.check()
        if self._failed_file is not None:
            failed, self._failed_file = self._failed_file, None
            if failed == schema.identity(self._file.path):
                raise StoreDamaged(f"registry {self._file.path}: the gateway cannot read it")
        self._write_others()
        server = self._sources.pick()
        try:
            self._follow(server)
        except StoreUnreachable:
            self._sources.leave()
            if (server := self._sources.pick()) is self._sources.read:
                raise
            self._follow(server)
        if self._copy is not None:
            self._copy.caught_up()
        self._fresh_at = began
        self._report.set(trouble=None, reads_primary=server is self._sources.primary, fresh_at=began)
        if self._standby_lag > FAR:
            self._sources.leave()
        end = time.monotonic() + TURN
        while self._copy is not None:
            goes_on = self._copy.step(server)
            if self._copy.is_done:
                self._copy = None
                self._report.news()
            self._tell()
            if not goes_on or time.monotonic() >= end:
                break

    def _write_others(self) -> None:
        """Write the other gateways into the replica, if they are not there already."""
        others, self._others = self._others, None
        if others is None:
            return
        with self._file.reading() as db:
            if rows.others(db) == others:
                return
        with self._file.writing() as db:
            rows.put_others(db, others)
        self._report.news()

    # --- what is new --------------------------------------------------------------------------------------------

    def _follow(self, server: Server) -> None:
        self._forget_collected()
        with server.look() as (db, extend):
            if self._place is None:
                self._begin(reading.state(db), is_repair=False)
            else:
                reading.news(db, self._place, self._check, self._apply, extend)
        self.polls += 1

    def _check(self, said: State) -> bool:
        """Whether the registry goes on. If not, a copy begins."""
        self._standby_lag = behind(said)
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
        is_repair = is_repair and self._is_whole  # a first copy that breaks off begins anew
        if self._file.is_loading:
            self._make_anew()
        snapshot = Snapshot(said.snapshot.xmin, said.snapshot.xmin) if said.is_standby else said.snapshot
        timeline = said.timeline or self._primary_timeline
        values = {
            "record": said.identity,
            "timeline": timeline,
            "snapshot": str(snapshot),
            "copied": b"",
            "loaded": 0,
            "is_repair": int(is_repair),
        }
        with self._file.writing() as db:
            rows.set_values(db, values)
            if db.execute("SELECT 1 FROM peers LIMIT 1").fetchone() is None:
                loading.begin(db)
        with self._file.reading() as db:
            self._file.is_loading = loading.is_loading(db)
        self._record, self._timeline, self._place, self._is_repair = said.identity, timeline, snapshot, is_repair
        self._copy = Copy(self._file, b"", 0, self._make_way)
        self._tell()

    def _start_anew(self, pause: float) -> float:
        """Make the replica anew, whatever is the matter with it. Returns the pause after that, seconds."""
        try:
            self._make_anew()
            return 0.0
        except (StoreError, sqlite3.Error) as error:
            self._report.set(trouble=str(error))
            return min(max(2 * pause, self._poll), BACK_OFF)

    def _make_anew(self) -> None:
        self._record, self._place = None, None
        self._tell()
        time.sleep(TOLD)  # the gateway has to know that the replica is not whole before it is not
        if self._copy is not None:
            with contextlib.suppress(StoreError):
                self._copy.close()
            self._copy = None
        self._file.start_anew()
        self._report.add(made_anew=1)

    @property
    def _is_whole(self) -> bool:
        """Whether the replica has all peers, although maybe not as they are now."""
        return self._place is not None and (self._copy is None or self._is_repair)

    def _tell(self) -> None:
        copy = self._copy
        stage = "connecting" if self._place is None else "following"
        if copy is not None:
            stage = "repairing" if self._is_repair else "copying"
        self._report.set(stage=stage, complete=self._is_whole, **({} if copy is None else {"copied": copy.loaded}))

    def _apply(self, table: str, new: list[Row]) -> None:
        """Collect rows, and write them when there are enough, or when all are there: then with the place."""
        if table == "place":
            (place,) = new[0]
            now = time.monotonic()
            if self._collected or (place != self._place and now - self._noted_at >= NOTED):
                self._write_collected({"snapshot": str(place)})
                self._noted_at = now
            self._place = place
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
        self._make_way()
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
            self._file.drop_peers(db, [key for key, is_registered in some if not is_registered])
            rows.reset(db, [key for key, _ in some])
        elif table == "removed":
            self._file.drop_peers(db, [key for key, _, is_registered in some if not is_registered])
            rows.put_removed(db, some)
        elif table == "claims":
            self._say_again(db, "claim", rows.put_claims(db, some))
            return False
        elif table == "holdings":
            left = rows.put_holdings(db, some)
            self._say_again(db, "holding", left)
            return len(left) < len(some)
        else:
            return self._file.put_peers(db, [row for row in some if self._concerns(db, row[0])]) > 0
        return True

    def _concerns(self, db: sqlite3.Connection, key: bytes) -> bool:
        """Whether a peer's row is to be written. What the first copy has not reached yet comes with it."""
        if not self._file.is_loading or self._copy is None or self._copy.covers(key):
            return True
        return db.execute("SELECT 1 FROM peers WHERE public_key = ?", (key,)).fetchone() is not None

    def _say_again(self, db: sqlite3.Connection, what: str, left: list[Row]) -> None:
        """If one of another gateway in the registry of record is smaller than this gateway's own, say that again."""
        gateway = {"claim": 2, "holding": 3}[what]
        query = f"SELECT 1 FROM {what}s WHERE public_key = ? AND gateway = ?"
        for key in rows.greater_here(db, what, (row for row in left if row[gateway] != self._gateway)):
            if db.execute(query, (key, self._gateway)).fetchone():
                holding_rows.queue(db, what, [key])

    def _make_way(self) -> None:
        """Let the gateway write first, if it wants to."""
        while (rest := self._wanted_until - time.monotonic()) > 0:
            time.sleep(rest)
