"""A registry whose changes all have the same author, for tests, lab and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgjit.database_url import DatabaseUrl, is_database_url
from wgjit.model import Peer, PublicKey
from wgjit.stores import checks
from wgjit.stores.base import Claims, Load, Peers
from wgjit.stores.entries import Author, Entry, Filter
from wgjit.stores.postgresql.registry import PostgresRegistry
from wgjit.stores.sqlite.registry import SqliteRegistry

LAB = Author("lab")
"""The author that the audit log names."""


def _refuse(_line: int, error: Exception) -> None:
    raise error


class Signed:
    """A registry's own verbs with the lab as author, for code to which the author does not matter."""

    if TYPE_CHECKING:

        @property
        def peers(self) -> Peers: ...
        @property
        def claims(self) -> Claims: ...

    def add(self, peers: Iterable[Peer]) -> int:
        """Register all peers or none. Returns the count."""
        return self.peers.adopt(peers, by=LAB)

    def fill(self, peers: Iterable[Peer]) -> int:
        """Register many peers, all or none, with one entry in the audit log. Returns the count."""
        with self.load() as load:
            load.peers(enumerate(peers))
            return load.commit(_refuse, "the lab").added

    def find(self, handle: str) -> Peer:
        """The peer that a handle means. Raises NoSuchPeer, AmbiguousHandle."""
        return self.peers.registration(handle).peer

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """As `peers.every`."""
        return self.peers.every(after)

    def count(self) -> int:
        """How many peers are registered."""
        return self.peers.count()

    def replace(self, peer: Peer) -> None:
        """Write a registered peer's new values."""
        self.amend(peer.public_key, lambda _: peer, {})

    def change(self, handle: str, how: Callable[[Peer], Peer]) -> Peer:
        """Replace a peer by what `how` makes of it."""
        return self.amend(self.peers.resolve(handle), how, {}).peer

    def remove(self, key: PublicKey) -> None:
        """Remove a peer. Raises NoSuchPeer."""
        if not self.peers.remove_all([key], by=LAB):
            raise checks.no_such_peer(str(key))

    def reset_claim(self, key: PublicKey) -> bool:
        """Forget a claim. Returns False if there was none."""
        return self.claims.reset(key, by=LAB) is not None

    def load(self) -> AbstractContextManager[Load]:
        """As `peers.load`."""
        return self.peers.load(by=LAB)

    def hand_out(self, *arguments: Any, **more: Any) -> Peer:
        """As `peers.hand_out`."""
        return self.peers.hand_out(*arguments, **{"by": LAB} | more)

    def amend(self, *arguments: Any, **more: Any) -> Entry:
        """As `peers.amend`."""
        return self.peers.amend(*arguments, **{"by": LAB} | more)

    def rotate(self, *arguments: Any, **more: Any) -> Peer:
        """As `peers.rotate`."""
        return self.peers.rotate(*arguments, **{"by": LAB} | more)

    def remove_all(self, *arguments: Any, **more: Any) -> int:
        """As `peers.remove_all`."""
        return self.peers.remove_all(*arguments, **{"by": LAB} | more)

    def remove_fitting(self, wanted: Filter) -> int:
        """As `peers.remove_fitting`."""
        return self.peers.remove_fitting(wanted, by=LAB)


class LabRegistry(Signed, SqliteRegistry):
    """A registry file with the lab's verbs."""


class LabPostgres(Signed, PostgresRegistry):
    """A registry in a database with the lab's verbs."""


def opened(place: Path | str, **more: Any) -> closing[LabRegistry] | closing[LabPostgres]:
    """The registry in a file, or in a database that a URL names. `more` is for a file's registry, or for both."""
    if is_database_url(str(place)):
        return closing(LabPostgres(DatabaseUrl(str(place)), **{k: v for k, v in more.items() if k != "create"}))
    return closing(LabRegistry(place, **more))
