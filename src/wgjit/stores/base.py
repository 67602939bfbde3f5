"""What a gateway needs of a registry, whatever keeps it.

"Found", "absent" and "could not ask" never merge: a Registration, None, and a raised StoreError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from wgjit.model import AllowedIP, Change, Claim, Cover, Peer, PublicKey, Registration, Removed


class Store(Protocol):
    """The gateway's side of a registry. All calls raise StoreError if the registry cannot be asked."""

    is_local: bool
    """True if a lookup costs less than a Diffie-Hellman, so that it comes before the proof of a key."""

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        """The peer of this key with its last claim, or None if no such peer is registered.

        Not `for_knock`: no packet waits for it, so a store that asks others gives way to knocks, and raises
        StoreDeferred if that takes too long.
        """

    def former(self, key: PublicKey) -> Removed | None:
        """What is left of a peer that was registered; None for one that is registered, or of which nothing is known.

        A store that only asks others may have forgotten it.
        """

    def save_claims(self, claims: Sequence[Claim]) -> None:
        """Record claims in one go, each as `Claim.over` the stored one, also those of removed keys.

        Unknown keys are left out.
        """

    def identity(self) -> bytes:
        """Which registry this is. When it changes, another is in its place.

        Then nothing that was known of the old one holds, nor does its change log go on.
        """

    def last_change(self) -> int:
        """The sequence number of the newest change; 0 if there was none."""

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """Updates and removals of peers by any process, oldest first, with a sequence number above `after`.

        Numbers have no holes, and the log is bounded: if the first is not `after + 1`, what lay between is no longer
        known, and the reader has to look at every peer that it remembers. New peers are not in the log.
        """

    def attend(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        """These keys matter from now on: a store that only asks others keeps what it knows of them young."""

    def addresses_version(self) -> Hashable:
        """Differs from an earlier one if an address has been registered since; may differ without that, too."""

    def cover(self, within: Collection[AllowedIP], limit: int) -> Cover | None:
        """About `limit` prefixes at most that hold every registered prefix inside one of `within`.

        Each is longer than the prefix of `within` that it lies in. None from a store that does not know all peers.
        """

    def figures(self) -> dict[str, Any]:
        """For people: how a store stands that asks others; empty for a local one."""

    def close(self) -> None:
        """Let go of the registry; harmless if called twice."""


class Roll(Store, Protocol):
    """A registry whose peers can all be looked at."""

    def find(self, handle: str) -> Peer:
        """The peer with this name or this base64 key. Raises NoSuchPeer."""

    def peers(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order, streamed; from the one after `after` on."""

    def count(self) -> int:
        """How many peers are registered."""


class Registry(Roll, Protocol):
    """The operator's side: the verbs that change who may connect."""

    def add(self, peers: Iterable[Peer]) -> int:
        """Register all of them or, on PeerExists, AddressConflict or StoreError, none; gives the count."""

    def replace(self, peer: Peer) -> None:
        """Write a registered peer's new values. Raises NoSuchPeer, AddressConflict, PeerExists (the name)."""

    def change(self, handle: str, how: Callable[[Peer], Peer]) -> Peer:
        """Write what `how` makes of a peer, in one go with reading it: what others write meanwhile is not undone.

        Gives the new values; if nothing changed, nothing is written. Raises NoSuchPeer, AddressConflict, PeerExists
        (the name), InvalidValue (another key), and what `how` raises.
        """

    def remove(self, key: PublicKey) -> None:
        """Take a peer out; `former` knows it from then on, with its claim. Raises NoSuchPeer."""

    def reset_claim(self, key: PublicKey) -> bool:
        """Forget a peer's claim, so that a client whose clock went back may connect; False if it had none.

        Of a removed key nothing is known any more.
        """
