"""The loop's clock, and how long each stage of a knock took.

One reading of the clock ends a stage and begins the next, so a knock costs few clock readings. While the feed has no
listener, a knock costs none: for decisions, the time at which its batch began is good enough.
"""

from __future__ import annotations

import time

from wgjit.core.vocabulary.moment import Now
from wgjit.daemon.feed_hub import FeedHub


class _Times:
    """The times of one knock."""

    __slots__ = ("began", "stages")

    def __init__(self, began: float) -> None:
        self.began = began
        self.stages: dict[str, float] = {}


class Stages:
    """The last reading of the clock, and the stages of all knocks, microseconds each."""

    def __init__(self, feed: FeedHub) -> None:
        self._feed = feed
        self._knocks: dict[int, _Times] = {}
        self._clock = 0.0
        self._wall_offset = 0.0
        self.look()
        self.compare_clocks()

    # --- the clock ----------------------------------------------------------------------------------------------

    def look(self) -> float:
        """Read the clock; return the seconds since the last reading. These are in no knock's stages."""
        before, self._clock = self._clock, time.monotonic()
        return self._clock - before

    def compare_clocks(self) -> None:
        """Compare the wall clock with the monotonic clock again, since the wall clock may have been stepped."""
        self._wall_offset = time.time() - time.monotonic()

    def now(self) -> Now:
        """The time of the last reading of the clock."""
        return Now(self._clock, self._clock + self._wall_offset)

    # --- stages -------------------------------------------------------------------------------------------------

    def begin(self, knock: int) -> None:
        """The knock was read from the capture."""
        self._knocks[knock] = _Times(self._clock)

    def lap(self, knock: int, stage: str) -> None:
        """Count the time since the last reading of the clock as this stage of this knock."""
        if not self._feed:
            return
        took = self.look()
        if times := self._knocks.get(knock):
            times.stages[stage] = times.stages.get(stage, 0.0) + took * 1e6

    def shared(self, knock: int, stage: str, seconds: float) -> None:
        """The knock has waited `seconds` for work that was done for several knocks together."""
        if times := self._knocks.get(knock):
            times.stages.setdefault(stage, seconds * 1e6)

    def end(self, knock: int) -> dict[str, float]:
        """All stages of a knock, and `total`; empty if the knock was ended before."""
        times = self._knocks.pop(knock, None)
        return {} if times is None else {**times.stages, "total": (self._clock - times.began) * 1e6}
