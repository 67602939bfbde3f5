"""One line for each client that connects, leaves, is revoked or refused, so that the journal answers its person's call.

Names are other people's texts, and keys are shown by their beginning, which `wgjit peer show` takes, too. No line is
formatted before `pace` has let it through: a line left out costs one look into a table.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

import structlog

from wgjit.core.vocabulary.told import Left, NotCompleted, Revoked
from wgjit.daemon.telling.pace import Pace
from wgjit.daemon.telling.words import LEFT, REFUSED, REVOKED, likely
from wgjit.model import PublicKey
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal
from wgjit.wire.key_text import quoted

log = structlog.get_logger()

ROUND = 60.0
"""Seconds between two lines with counts of what was left out."""

BEGINNING = 8
"""Characters of a key that are shown: of a million registered keys, two begin alike once in 500 registries."""

_STRANGERS = frozenset({Refusal.UNKNOWN, Refusal.FORGED})


class Clients:
    """What the log says of single clients, at info; of strangers at debug, with counts of all refusals in a minute."""

    def __init__(self) -> None:
        self._pace, self._pace_of_strangers = Pace(), Pace()
        self._strangers: Counter[str] = Counter()
        """All refusals since the last round."""
        self._debug = log.bind().is_enabled_for(logging.DEBUG)
        self._context = structlog.contextvars.get_contextvars()
        self._round = time.monotonic() + ROUND

    def saw(self, record: FeedRecord) -> None:
        """Log an initiation that was handled, if there is something to say of its peer."""
        if record.decision is Decision.INSTALLED:
            self._connected(record)
        elif record.refusal is not None:
            self.refused(record.refusal)
            if record.proven and record.refusal in REFUSED:
                self._refused(record, record.refusal)
            elif self._debug and record.refusal in _STRANGERS:
                self._stranger(record, record.refusal)
        elif record.decision is Decision.CALLED:
            self._called(record)

    def refused(self, refusal: Refusal) -> None:
        """Count a refusal, also of a packet that is no initiation."""
        if self._debug:
            self._strangers[refusal] += 1

    def _connected(self, record: FeedRecord) -> None:
        key = record.public_key
        if key is None or (more := self._pace.may_tell(key, "connected", time.monotonic())) is None:
            return
        log.info(
            "connected",
            **self._peer(key, record.name),
            endpoint=str(record.source),
            delivery=None if record.delivery is None else record.delivery.value,
            ms=round(record.stages.get("total", 0.0) / 1000, 1),
            **({} if record.held_by is None else {"served_before_by": quoted(record.held_by)}),
            **_left_out(more),
            **self._context,
        )

    def _called(self, record: FeedRecord) -> None:
        key = record.public_key
        if key is None or (more := self._pace.may_tell(key, "called", time.monotonic())) is None:
            return
        log.info(
            "called, since its data came here",
            **self._peer(key, record.name),
            endpoint=str(record.source),
            **_left_out(more),
            **self._context,
        )

    def _refused(self, record: FeedRecord, refusal: Refusal) -> None:
        key = record.public_key
        if key is None or (more := self._pace.may_tell(key, refusal, time.monotonic())) is None:
            return
        log.info(
            "refused",
            **self._peer(key, record.name),
            endpoint=str(record.source),
            refusal=refusal.value,
            **REFUSED[refusal]._asdict(),
            **_left_out(more),
            **self._context,
        )

    def _stranger(self, record: FeedRecord, refusal: Refusal) -> None:
        key = record.public_key
        if key is None or (more := self._pace_of_strangers.may_tell(key, refusal, time.monotonic())) is None:
            return
        log.debug(
            "refused a stranger",
            peer=str(key),
            endpoint=str(record.source),
            refusal=refusal.value,
            **_left_out(more),
            **self._context,
        )

    def left(self, command: Left) -> None:
        """Log that a peer has left; not one that was revoked, since `revoked` has told that."""
        why = LEFT.get(command.why)
        if why is None or (more := self._pace.may_tell(command.key, "left", time.monotonic())) is None:
            return
        log.info("left", **self._peer(command.key, command.name), why=why, **_left_out(more), **self._context)

    def revoked(self, command: Revoked) -> None:
        """Log that a resident's session was ended."""
        if (more := self._pace.may_tell(command.key, "revoked", time.monotonic())) is None:
            return
        why = REVOKED[command.why]
        log.info("revoked", **self._peer(command.key, command.name), why=why, **_left_out(more), **self._context)

    def not_completed(self, command: NotCompleted) -> None:
        """Log that a peer's handshakes are proven and never completed."""
        if command.over or (more := self._pace.may_tell(command.key, "never completed", time.monotonic())) is None:
            return
        log.info(
            "never completed",
            **self._peer(command.key, command.name),
            endpoint=str(command.endpoint),
            knocks=command.knocks,
            likely=likely(command),
            do="compare the preshared keys (wgjit peer show; the client's own file), then look for the answer with "
            "tcpdump on both sides",
            **_left_out(more),
            **self._context,
        )

    def beat(self) -> None:
        """Once a minute, log how many lines were left out, and how many strangers were refused. Called each second."""
        now = time.monotonic()
        if now < self._round:
            return
        self._round = now + ROUND
        if left_out := self._pace.take_left_out():
            log.info("lines about clients were left out", **_counts(left_out), **self._context)
        self._pace_of_strangers.take_left_out()
        refused, self._strangers = self._strangers, Counter()
        if refused:
            log.debug("refused within a minute", **_counts(refused), **self._context)

    @staticmethod
    def _peer(key: PublicKey, name: str | None) -> dict[str, Any]:
        beginning = {"peer": str(key)[:BEGINNING]}
        return beginning if name is None else {"name": quoted(name), **beginning}


def _left_out(more: int) -> dict[str, int]:
    return {"left_out": more} if more else {}


def _counts(counts: dict[str, int]) -> dict[str, int]:
    """As fields of a line: a kind's name may have spaces."""
    return {str(kind).replace(" ", "_"): number for kind, number in sorted(counts.items())}
