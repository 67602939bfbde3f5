"""Was this knock made just now, or recorded and kept? For those that are newer than all that was proven.

A recording of a handshake that no gateway has seen is newer than the claim. Its age tells it from a knock of this
moment: how long ago it was made, by the client's clock as its claim shows it to us, or by our own where that makes it
younger. What is older than `LATE`, or was made before this gateway began to watch, is in doubt; so is what is not newer
than a timestamp that was inferred.

Doubt refuses nobody for good, since clients' clocks are set back, and ours is stepped. A client whose knock is not
answered makes another 5 s later, with a stamp 5 s greater: who sends two in step with our clock is there. Whoever has
one recording has none that follows it so; two of one series of retries are needed, sent with the same pause.
"""

from __future__ import annotations

from collections import OrderedDict

from wgjit.core.knock.knocks import Knock
from wgjit.core.knock.parking import REKEY_TIMEOUT
from wgjit.core.vocabulary import Now
from wgjit.model import Claim, PublicKey, Tai64n

LATE = 10.0
"""Seconds for which a knock may be under way, and by which a client's clock may be behind ours unnoticed."""

DRIFT = 1e-4
"""By how much a client's clock may be slow: quartz is within half of it."""

GRAIN = 0.02
"""Seconds: WireGuard rounds its stamps down to 17 ms (noise.c, `tai64n_now`)."""

PACE = 0.5
"""Seconds by which two pauses may differ that are the same: a retry's delay on its way."""

LEAST_PAUSE, MOST_PAUSE = REKEY_TIMEOUT - 1.0, 4 * REKEY_TIMEOUT
"""Seconds between two knocks of one series of retries, of which some may be lost."""

WITNESSES = 8
"""Knocks in doubt remembered of a peer: a thief needs as many recordings to push the true client's out."""


class Freshness:
    """See the head of this file. Constant time; memory for at most `capacity` peers."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._began: Now | None = None
        self._doubted: OrderedDict[PublicKey, dict[Tai64n, float]] = OrderedDict()
        """When knocks in doubt arrived (monotonic), by their stamps."""

    def watching(self, now: Now) -> None:
        """Knocks are seen from now on; only the first call counts."""
        self._began = self._began or now

    def accepts(self, knock: Knock, known: Claim | None) -> bool:
        """Whether this proven knock, newer than all that was proven of its peer, was made just now."""
        in_doubt = known is not None and knock.timestamp <= known.timestamp
        if not in_doubt and self._age(knock, known) <= self._limit(knock):
            return True
        return self._is_in_step(knock)

    def made_at(self, knock: Knock, known: Claim | None) -> float:
        """When a knock was made at the latest, Unix seconds by our clock."""
        wall = knock.record.time or 0.0
        return wall - max(0.0, self._age(knock, known)) if self._age(knock, known) > LATE else wall

    def _age(self, knock: Knock, known: Claim | None) -> float:
        """Seconds, at least."""
        walls = [knock.record.time or 0.0]
        if self._began is not None:  # as our clock would show, had it not been stepped since
            walls.append(self._began.wall + knock.arrived - self._began.monotonic)
        ages = [wall - knock.timestamp.unix for wall in walls]
        if known is not None:
            passed = knock.timestamp.since(known.timestamp)
            ages += [(wall - known.proven_at) * (1 - DRIFT) - passed for wall in walls]
        return min(ages)

    def _limit(self, knock: Knock) -> float:
        watched = LATE if self._began is None else knock.arrived - self._began.monotonic
        return min(LATE, watched) + GRAIN

    def _is_in_step(self, knock: Knock) -> bool:
        earlier = self._doubted.pop(knock.key, {})
        recent = {stamp: at for stamp, at in earlier.items() if knock.arrived - at <= MOST_PAUSE}
        is_in_step = any(_in_step(knock, stamp, at) for stamp, at in recent.items())
        recent.setdefault(knock.timestamp, knock.arrived)
        if len(recent) > WITNESSES:
            del recent[next(iter(recent))]
        self._doubted[knock.key] = recent
        if len(self._doubted) > self._capacity:
            self._doubted.popitem(last=False)
        return is_in_step


def _in_step(knock: Knock, stamp: Tai64n, at: float) -> bool:
    pause = knock.arrived - at
    return LEAST_PAUSE <= pause <= MOST_PAUSE and abs(knock.timestamp.since(stamp) - pause) <= PACE
