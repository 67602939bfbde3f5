"""Tells a knock that was made just now from a recorded one. Only for knocks newer than all that was proven.

A recording of a handshake that no gateway saw is newer than the claim. Its age tells it from a fresh knock. The age is
counted by the client's clock, as the claim shows it, or by the gateway's clock, whichever gives the lower age. A knock
is in doubt if it is older than `LATE`, if it was made before this gateway began to watch, or if its timestamp is not
newer than an inferred one.

A knock in doubt is not refused for good, since clients' clocks are set back and the gateway's clock is stepped. A
client that gets no answer sends another initiation 5 s later, with a timestamp 5 s greater. Two such knocks in step
with the gateway's clock prove that the client is there. An attacker with one recording has no second one that follows
so. The attacker would need two recordings of one series of retries, and would have to send them with the same pause.
"""

from __future__ import annotations

from collections import OrderedDict

from wgjit.core.knock.knocks import Knock
from wgjit.core.knock.parking import REKEY_TIMEOUT
from wgjit.core.vocabulary.moment import Now
from wgjit.model import Claim, PublicKey, Tai64n

LATE = 12.0
"""Most seconds that a fresh knock may be under way. A client's clock may be behind the gateway's by as much.

More than 10: some home-made clients write Unix seconds into their timestamps, without the 10 s of TAI that WireGuard
adds (kernel, noise.c, `tai64n_now`), and seem to be 10 s behind. Their first knock is under way for less than 2 s.
"""

DRIFT = 1e-4
"""Fraction by which a client's clock may be slow. Quartz clocks stay within half of it."""

GRAIN = 0.02
"""Seconds. WireGuard rounds its timestamps down to 17 ms (noise.c, `tai64n_now`)."""

PACE = 0.5
"""Seconds by which the pause between two arrivals may differ from the pause between their timestamps."""

LEAST_PAUSE, MOST_PAUSE = REKEY_TIMEOUT - 1.0, 4 * REKEY_TIMEOUT
"""Seconds between two knocks of one series of retries. Some retries may be lost."""

WITNESSES = 8
"""Knocks in doubt that are remembered per peer. An attacker needs as many recordings to push out the true client's."""


class Freshness:
    """The fresh and the doubtful knocks of one interface. Constant time; memory for at most `capacity` peers."""

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._began: Now | None = None
        self._ahead: float | None = None
        self._doubted: OrderedDict[PublicKey, dict[Tai64n, float]] = OrderedDict()
        """Arrival (monotonic seconds) of each knock in doubt, by its timestamp."""

    def watching(self, now: Now) -> None:
        """The gateway sees knocks from now on. Only the first call counts."""
        self._began = self._began or now

    def fleet_clock(self, offset: float) -> None:
        """The fleet's common clock is ahead of ours by `offset` seconds. Ages are counted by it from now on."""
        self._ahead = offset

    def accepts(self, knock: Knock, known: Claim | None) -> bool:
        """Whether this proven knock, newer than all that was proven of its peer, was made just now."""
        in_doubt = known is not None and knock.timestamp <= known.timestamp
        if not in_doubt and self._age(knock, known) <= self._limit(knock):
            return True
        return self._is_in_step(knock)

    def made_at(self, knock: Knock, known: Claim | None) -> float:
        """The latest time at which the client can have made the knock, Unix seconds by the gateway's clock.

        In a fleet it is the fleet's clock, because claims go from gateway to gateway.
        """
        wall = (knock.record.time or 0.0) + (self._ahead or 0.0)
        return wall - max(0.0, self._age(knock, known)) if self._age(knock, known) > LATE else wall

    def _age(self, knock: Knock, known: Claim | None) -> float:
        """The least age of the knock, seconds."""
        walls = [(knock.record.time or 0.0) + (self._ahead or 0.0)]
        if self._ahead is None and self._began is not None:  # what our clock would show had it not been stepped since
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
