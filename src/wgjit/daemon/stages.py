"""The loop's clock, and how long each stage of a knock took.

One look at the clock ends a stage and begins the next: that is all that a knock costs in clock readings. While nobody
listens to the feed a knock costs not even that; for decisions the beginning of its batch is time enough.
"""

from __future__ import annotations

import time

from wgjit.core.vocabulary import Now
from wgjit.daemon.feed import FeedHub


class _Times:
    """Of one knock."""

    __slots__ = ("began", "stages")

    def __init__(self, began: float) -> None:
        self.began = began
        self.stages: dict[str, float] = {}


class Stages:
    """The time by the last look at the clock, and the stages that ended there, microseconds each."""

    def __init__(self, feed: FeedHub) -> None:
        self._feed = feed
        self._knocks: dict[int, _Times] = {}
        self._clock = 0.0
        self._wall_offset = 0.0
        self.look()
        self.compare_clocks()

    # --- the clock ----------------------------------------------------------------------------------------------

    def look(self) -> float:
        """Look at the clock; the time since the last look is no knock's stage. Gives seconds that passed."""
        before, self._clock = self._clock, time.monotonic()
        return self._clock - before

    def compare_clocks(self) -> None:
        """Notice a clock that was stepped."""
        self._wall_offset = time.time() - time.monotonic()

    def now(self) -> Now:
        """By the last look."""
        return Now(self._clock, self._clock + self._wall_offset)

    # --- stages -------------------------------------------------------------------------------------------------

    def begin(self, knock: int) -> None:
        """The knock was read from the capture."""
        self._knocks[knock] = _Times(self._clock)

    def lap(self, knock: int, stage: str) -> None:
        """The time since the last look at the clock was spent on this stage of this knock."""
        if not self._feed:
            return
        took = self.look()
        if times := self._knocks.get(knock):
            times.stages[stage] = times.stages.get(stage, 0.0) + took * 1e6

    def shared(self, knock: int, stage: str, seconds: float) -> None:
        """The knock has waited so long for what was done for several together."""
        if times := self._knocks.get(knock):
            times.stages.setdefault(stage, seconds * 1e6)

    def end(self, knock: int) -> dict[str, float]:
        """All stages of a knock, and `total`; empty for one that has been ended."""
        times = self._knocks.pop(knock, None)
        return {} if times is None else {**times.stages, "total": (self._clock - times.began) * 1e6}
