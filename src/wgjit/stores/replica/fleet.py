"""What a gateway says to its fleet and hears of it: by its replica, which a follower keeps."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

from wgjit.errors import GatewayNameTaken, StoreDamaged, StoreError, StoreMissing, StoreUnreachable
from wgjit.model import Claim, Endpoint, Holding, OtherGateway, PublicKey, Registration, Removed
from wgjit.stores import packing
from wgjit.stores.replica.messages import Terms
from wgjit.stores.replica.process import Follower
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.rows import claim_rows, holding_rows
from wgjit.wire.endpoint import V4_IN_V6
from wgjit.wire.key_text import quoted

ASKING = 0.4
"""Seconds that an `ask` waits. A packet is held for half a second."""

STARTING = 15.0
"""Seconds for the follower to come up, most of which is the loading of its modules."""

STALE = 2.0
"""Seconds, besides four polls, after which a replica that was not renewed counts as behind."""

_TROUBLES = ("fatal", "trouble", "saying_fails", "beating_fails")
"""Parts of the follower's status that say what goes wrong."""

DOUBTED = 5.0
"""Seconds for another gateway's heartbeat, by which it is seen whether it lives."""

TELLING = 1.0
"""Seconds between two words to the follower about a file that fails."""

_SAVE_CLAIM = claim_rows.save("TRUE")
_HEARD = f"""
    SELECT arrival, gateway = ?2 AND epoch = ?3, public_key, {holding_rows.COLUMNS} FROM holdings
    WHERE arrival > ?1 ORDER BY arrival LIMIT ?4"""
_HELD_AT = f"""
    SELECT h.public_key, {packing.columns("p.", key=False)},
           c.timestamp, c.gateway, c.endpoint, c.proven_at, c.proven, {packing.holding_columns("h.")}
    FROM holdings AS h INDEXED BY holdings_by_endpoint JOIN peers AS p ON p.public_key = h.public_key
        LEFT JOIN claims AS c ON c.public_key = h.public_key
    WHERE h.endpoint IN (?1, ?2) AND h.until IS NULL LIMIT 3"""
_HELD_ELSEWHERE = """
    SELECT public_key, endpoint, gateway FROM holdings WHERE public_key > ? AND until IS NULL
    ORDER BY public_key LIMIT ?"""


class ReplicaFleet:
    """Implements `wgjit.stores.base.Fleet` on the two connections of a replica, and starts and ends its follower."""

    def __init__(self, path: Path, terms: Terms, reader: Link, writer: Link, follower: Follower) -> None:
        self._gateway = terms.gateway
        self._poll = terms.poll
        self._reader = reader
        self._writer = writer
        self._follower = follower
        self._path = path
        self._fails = False
        self._began = time.monotonic()
        self._told_at = -inf

    # --- Fleet ------------------------------------------------------------------------------------------------

    def say(self, claims: Sequence[Claim], holdings: Sequence[Holding]) -> None:
        """Save these in the replica, in one transaction, and queue them for the registry of record.

        Also those of keys that the replica does not have (yet).
        """
        if not claims and not holdings:
            return
        with self.writing() as db:
            if claims:
                db.executemany(_SAVE_CLAIM, map(packing.claim_row, claims))
                holding_rows.queue(db, "claim", [claim.public_key for claim in claims])
            if holdings:
                holding_rows.save(db, holdings)
                holding_rows.queue(db, "holding", [holding.public_key for holding in holdings])
        self._follower.nudge()

    def hear(self, after: int, limit: int = 1000) -> tuple[list[Holding], int]:
        """Holdings of other gateways that reached the replica after the place `after`, oldest first, and the new place.

        May return fewer holdings than there are; the place tells whether anything is new. With a `limit` of 0 only the
        newest place is told.
        """
        if limit == 0:
            with self.reading() as db:
                row = db.execute("SELECT value FROM replica WHERE what = 'arrivals'").fetchone()
            return [], 0 if row is None else int(row[0])
        with self.reading() as db:
            rows = db.execute(_HEARD, (after, self._gateway.name, self._gateway.epoch, limit)).fetchall()
        heard = [packing.row_holding(*row) for _, is_own, *row in rows if not is_own]
        return heard, rows[-1][0] if rows else after

    def ask(self, key: PublicKey) -> Registration | Removed | None:
        """Ask the registry of record for a key that the replica does not have. What is found goes into the replica."""
        return self._follower.ask(key, ASKING)

    def held_at(self, endpoint: Endpoint) -> list[Registration]:
        """The registered peers that are held at this endpoint now, by any gateway; three at most."""
        packed = packing.pack_endpoint(endpoint.unmapped._replace(scope=0))
        other = V4_IN_V6 + packed if len(endpoint.unmapped.address) == 4 else packed
        with self.reading() as db:
            rows = db.execute(_HELD_AT, (packed, other)).fetchall()
        return [packing.row_registration(PublicKey(key), row) for key, *row in rows]

    def held_elsewhere(self, after: PublicKey | None, limit: int = 1000) -> tuple[list[Endpoint], PublicKey | None]:
        """Endpoints of peers that other gateways hold, in the order of keys, and the last key; None if it was the
        last."""
        with self.reading() as db:
            rows = db.execute(_HELD_ELSEWHERE, (after or b"", limit)).fetchall()
        found = []
        for _, endpoint, gateway in rows:
            if gateway != self._gateway.name:
                with contextlib.suppress(ValueError):  # a damaged row is passed over
                    found.append(packing.unpack_endpoint(endpoint))
        return found, PublicKey(rows[-1][0]) if len(rows) == limit else None

    def on_news(self, call: Callable[[], None] | None) -> None:
        """Call this whenever the replica or the status has something new, on a thread of the follower's. It must be
        short. None: call nothing."""
        self._follower.on_news = call

    def is_behind(self) -> bool:
        """Whether registered peers may be missing in the replica: it is being made, or has not been renewed lately."""
        follower = self._follower
        fresh_at = follower.value("fresh_at")
        if self._fails or not follower.value("complete") or fresh_at is None:
            return True
        behind: float = time.monotonic() - fresh_at + (follower.value("lag") or 0.0)
        return behind > STALE + 4 * self._poll

    def is_complete(self) -> bool:
        """Whether the replica has all peers, although maybe not as they are now."""
        return not self._fails and bool(self._follower.value("complete"))

    def lag(self) -> float | None:
        """Seconds since the replica was as the registry of record; None if it does not have all peers yet."""
        if not self.is_complete():
            return None
        fresh_at: float = self._follower.value("fresh_at") or self._began
        standby: float = self._follower.value("lag") or 0.0
        return time.monotonic() - fresh_at + standby

    def clock_offset(self) -> float | None:
        """Seconds by which the clock of the registry of record is ahead of ours; None if it is not known."""
        offset: float | None = self._follower.value("clock_offset")
        return offset

    # --- the follower -----------------------------------------------------------------------------------------

    def start(self, seconds: float = 2.0) -> None:
        """Start the follower, and wait for its first word from the registry of record, so many seconds at most.

        The seconds count from when the follower runs, which may take long on a busy machine. Without a word the gateway
        works with what the replica has. Raises GatewayNameTaken if a living gateway of the fleet has the same name;
        then the follower is ended. It takes some seconds more to see whether the other one lives: the name may also be
        this gateway's own, whose replica was lost.
        """
        self._follower.start()
        self._follower.wait_for(bool, STARTING)
        self._follower.wait_for(lambda state: state.get("beat") is not None or "fatal" in state, seconds)
        if self._follower.value("beat") == "doubted":
            self._follower.wait_for(lambda state: state.get("beat") != "doubted", DOUBTED)
        if (taken := self.name_taken()) is not None:
            self._follower.close()
            raise taken
        if (fatal := self._follower.value("fatal")) is not None:
            self._follower.close()
            raise StoreUnreachable(fatal)

    def trouble(self) -> StoreError | None:
        """Why the registry of record is not followed or not written to at the moment; None if all is well."""
        state = self._follower.status()
        if state["pid"] is None and state["last_end"] is not None:
            return StoreUnreachable(f"the process that follows the registry {state['last_end']}; it is started again")
        told = next((state[name] for name in _TROUBLES if state.get(name)), None)
        return None if told is None else StoreUnreachable(told)

    def name_taken(self) -> GatewayNameTaken | None:
        """The error for a living gateway of another machine that has this gateway's name; None if there is none."""
        taken = self._follower.value("taken_by")
        if self._follower.value("beat") != "taken":
            return None
        where = "" if not taken else f" (at {taken['address'] or 'an unknown address'}, {taken['interface']})"
        return GatewayNameTaken(
            f"gateway name {quoted(self._gateway.name)}: another gateway of the fleet{where} has it and lives; "
            "give this one another name in gateway.name",
            field="gateway.name",
        )

    def other_keys(self) -> list[str]:
        """The names of living gateways of the fleet whose interface has another key than this gateway's."""
        return list(self._follower.value("other_keys") or ())

    def others(self) -> list[OtherGateway]:
        """The other gateways of the fleet by name, as the last heartbeat heard of them. Raises StoreError.

        Whether they live is known only while heartbeats succeed: otherwise none is said to live.
        """
        is_known = self._follower.value("beat") == "ok"
        with self.reading() as db:
            rows = db.execute("SELECT name, lives, draining, service FROM gateways ORDER BY name").fetchall()
        return [
            OtherGateway(name, bool(lives) and is_known, bool(draining), packing.unpack_service(service))
            for name, lives, draining, service in rows
        ]

    def fileno(self) -> int:
        """A descriptor that can be read when there is news: rows in the replica, or a change of the status."""
        return self._follower.fileno()

    def read(self) -> bool:
        """Whether there was news since the last call. Makes the descriptor silent."""
        return self._follower.read()

    def set_residents(self, count: int) -> None:
        """Have this number of residents in the gateway's heartbeats."""
        self._follower.set_facts(residents=count)

    def set_draining(self, draining: bool) -> None:
        """Tell the fleet at once whether this gateway drains, and in its heartbeats."""
        self._follower.set_facts(draining=draining)

    def status(self) -> dict[str, Any]:
        """The state of replica and follower, for people."""
        state = self._follower.status()
        fresh_at = state.pop("fresh_at", None)
        state["behind"] = self.is_behind()
        state["renewed"] = None if fresh_at is None else round(time.monotonic() - fresh_at, 3)
        return state

    def wait_for(self, fits: Callable[[dict[str, Any]], bool], seconds: float) -> bool:
        """Wait until the follower's status fits, for tests and benches. Returns False if it does not in time."""
        return self._follower.wait_for(fits, seconds)

    # --- the file ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A use of the replica that reads. If the file is damaged or gone, the follower makes it anew."""
        try:
            with self._reader as db:
                yield db
        except (StoreDamaged, StoreMissing):
            self.file_fails()
            raise
        self._fails = False

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction of this process, committed at the end. A follower that copies makes way for it."""
        if self._follower.value("stage") != "following":
            self._follower.want()
        try:
            with self._writer as db:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
        except (StoreDamaged, StoreMissing):
            self.file_fails()
            raise

    def file_fails(self) -> None:
        """The replica is damaged or gone: have the follower make it anew."""
        self._fails = True
        if time.monotonic() - self._told_at >= TELLING:
            self._told_at = time.monotonic()
            try:
                file = schema.identity(self._path)
            except StoreError:
                file = (0, 0)
            self._follower.file_fails(file)

    def close(self) -> None:
        """End the follower, once it has said the last. Waits a few seconds at most."""
        self._follower.close()
