"""Knocks between their Arrived and their Tell: what is known of each, and which of them wait in the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import Claim, Endpoint, PublicKey, Tai64n
from wgjit.record import FeedRecord
from wgjit.wire.noise import Claimed


@dataclass(slots=True)
class Knock:
    """One initiation on its way through the checks."""

    number: int
    record: FeedRecord
    address: bytes
    """The packed address that it came from."""
    held: bool
    arrived: float
    """Monotonic seconds."""
    claimed: Claimed | None = None
    claim: Claim | None = None
    """What this knock will leave in the store if it is acted upon."""
    ticket: int = 0
    """Of the inquiry about its key."""
    looked: bool = False
    """The device was read for it before its install."""
    released: bool = False
    """It was held and has been let go: with a verdict, or because its deadline passed."""

    @property
    def source(self) -> Endpoint:
        """Where it came from."""
        assert self.record.source is not None  # of all that were an initiation it is known
        return self.record.source

    @property
    def key(self) -> PublicKey:
        """Whose it says to be, once it is identified."""
        assert self.record.public_key is not None
        return self.record.public_key

    @property
    def timestamp(self) -> Tai64n:
        """When the client made it, once it is proven."""
        assert self.record.timestamp is not None
        return self.record.timestamp


class Knocks:
    """All knocks that wait for something. Constant time; bounded by whoever adds."""

    def __init__(self) -> None:
        self._waiting: dict[int, Knock] = {}
        self._held: dict[int, Knock] = {}
        """Of them, those that wait in the kernel, in the order of their arrival."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, knock: Knock) -> None:
        """The knock waits from now on."""
        self._waiting[knock.number] = knock
        if knock.held and not knock.released:
            self._held[knock.number] = knock

    def get(self, number: int) -> Knock | None:
        """The knock of this number, if it waits."""
        return self._waiting.get(number)

    def release(self, knock: Knock) -> bool:
        """Let its packet go; False if it was a copy, or has been let go."""
        if not knock.held or knock.released:
            return False
        knock.released = True
        self._held.pop(knock.number, None)
        return True

    def remove(self, knock: Knock) -> None:
        """It waits no more."""
        self._waiting.pop(knock.number, None)

    def first_held(self) -> Knock | None:
        """Of those that wait in the kernel the one that has waited longest."""
        return next(iter(self._held.values()), None)
