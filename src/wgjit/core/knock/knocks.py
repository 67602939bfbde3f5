"""All knocks between Arrived and Tell: what the gateway knows of each, and which of them wait in the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.model import Claim, Endpoint, Holding, PublicKey, Tai64n
from wgjit.record import FeedRecord
from wgjit.wire.noise import Claimed


@dataclass(slots=True)
class Knock:
    """One initiation on its way through the checks."""

    number: int
    record: FeedRecord
    address: bytes
    """The packed source address."""
    held: bool
    arrived: float
    """Monotonic seconds."""
    claimed: Claimed | None = None
    claim: Claim | None = None
    """The claim to save if the gateway acts on this knock."""
    holding: Holding | None = None
    """Who in the fleet holds the peer, by its registration."""
    ticket: int = 0
    """The ticket of the inquiry about the knock's key (`Inquiries`)."""
    looked: bool = False
    """The device was read before the install for this knock."""
    taken: bool = False
    """Another gateway may hold the peer; the peer may be taken over."""
    released: bool = False
    """The packet was held and has been released, with a verdict or at its deadline."""

    @property
    def source(self) -> Endpoint:
        """The endpoint that sent the initiation."""
        assert self.record.source is not None  # every initiation has a source
        return self.record.source

    @property
    def key(self) -> PublicKey:
        """The claimed key, once the knock is identified."""
        assert self.record.public_key is not None
        return self.record.public_key

    @property
    def timestamp(self) -> Tai64n:
        """The client's timestamp, once the knock is proven."""
        assert self.record.timestamp is not None
        return self.record.timestamp


class Knocks:
    """All knocks that wait for something. Constant time. The caller of `add` bounds their number."""

    def __init__(self) -> None:
        self._waiting: dict[int, Knock] = {}
        self._held: dict[int, Knock] = {}
        """The knocks whose packets wait in the kernel, in the order of their arrival."""

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
        """Mark the packet as released; False if the packet is a copy or was released before."""
        if not knock.held or knock.released:
            return False
        knock.released = True
        self._held.pop(knock.number, None)
        return True

    def remove(self, knock: Knock) -> None:
        """The knock waits no more."""
        self._waiting.pop(knock.number, None)

    def first_held(self) -> Knock | None:
        """The knock whose packet has waited longest in the kernel, or None."""
        return next(iter(self._held.values()), None)
