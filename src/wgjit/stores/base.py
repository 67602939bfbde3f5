"""What a gateway and people need of a registry, whatever keeps it.

"Found", "absent" and "could not ask" never merge: a Registration, None, and a raised StoreError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from wgjit.errors import StoreError
from wgjit.model import AllowedIP, Change, Claim, Cover, Peer, PublicKey, Registration, Removed
from wgjit.stores.entries import (
    EVERY,
    Answer,
    AuditFilter,
    AuditPage,
    Author,
    Entry,
    Filter,
    Loaded,
    Once,
    Page,
    Pool,
    Scope,
    Token,
)


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


class Peers(Protocol):
    """The peers of a registry, as people manage them. What changes one asks who does (`by`), for the audit log."""

    def resolve(self, handle: str) -> PublicKey:
        """The key of the peer with this name, key, address, or beginning of a key (4 characters at least).

        Raises NoSuchPeer, AmbiguousHandle. Works for a peer whose row is damaged, so that it can be removed.
        """

    def registration(self, handle: str) -> Registration:
        """The peer that a handle means, with its last claim. Raises NoSuchPeer, AmbiguousHandle."""

    def entry(self, key: PublicKey) -> Entry:
        """One peer as a listing shows it. Raises NoSuchPeer."""

    def labels(self, key: PublicKey) -> dict[str, str]:
        """A peer's labels, empty if there are none."""

    def names(self, prefix: str, limit: int) -> list[str]:
        """Names that begin so, in order."""

    def page(self, wanted: Filter, limit: int, after: str | None = None) -> Page:
        """The first `limit` peers that fit, or the next behind a page's cursor. Raises InvalidValue (the cursor)."""

    def entries(self, wanted: Filter, after: str | None = None, page: int = 1000) -> Iterator[Entry]:
        """All peers that fit, streamed; each `page` of them is a transaction of its own."""

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order, streamed, from the one after `after` on; each as it is when its round is read."""

    def count(self, wanted: Filter = EVERY) -> int:
        """How many fit; visits all that do, unless that is every peer."""

    def search(self, text: str, limit: int, *, anywhere: bool = False) -> list[Entry]:
        """Peers whose name or key begins with a text, who own an address in it, or have the label that it is.

        `limit` at most. `anywhere`: also those whose name has it somewhere inside, for which all names are looked at.
        """

    def hand_out(
        self,
        peer: Peer,
        given: Mapping[str, str],
        some: Sequence[Pool] = (),
        before_commit: Callable[[Peer], None] = ...,
        *,
        by: Author,
        once: Once | None = None,
    ) -> Peer:
        """Register a peer with labels and, besides its own allowed IPs, an address of each pool; gives what it became.

        No two processes get the same address. What `before_commit` raises undoes all of it. Raises PeerExists,
        AddressConflict, InvalidValue, PoolExhausted, AnsweredBefore.
        """

    def adopt(self, peers: Iterable[Peer], *, by: Author) -> int:
        """Register the peers of an interface, all of them or none; gives the count.

        Raises PeerExists, AddressConflict, InvalidValue, and what the iterable raises.
        """

    def load(self, *, by: Author, cache: int = ...) -> AbstractContextManager[Load]:
        """Register many peers, faster than one by one and, if wanted, without those that are refused.

        What is staged and not committed is dropped. Each batch is one entry of the audit log, whatever its size.
        `cache`: KiB of memory for each of the two connections that it may take. Raises StoreBusy, StoreError.
        """

    def amend(
        self,
        key: PublicKey,
        how: Callable[[Peer], Peer],
        add: Mapping[str, str],
        remove: Iterable[str] = (),
        check: Callable[[Entry], None] = ...,
        *,
        by: Author,
    ) -> Entry:
        """Write what `how` makes of a peer, and its labels given and taken, in one go with reading it.

        `check` is told what it was before; what it raises leaves that so. Raises NoSuchPeer, AddressConflict,
        PeerExists (the name), InvalidValue (another key), and what `how` raises.
        """

    def rotate(
        self,
        key: PublicKey,
        new: PublicKey,
        before_commit: Callable[[Peer], None] = ...,
        check: Callable[[Entry], None] = ...,
        *,
        by: Author,
        once: Once | None = None,
    ) -> Peer:
        """Put a new key in the place of a peer's; all else stays, but its claim, which was the old key's.

        For a gateway it is a removal: the old key loses its session within a second. What `before_commit` raises
        undoes it, and what `check`, which is told what it was before. Raises NoSuchPeer, PeerExists, AnsweredBefore.
        """

    def remove_all(self, keys: Sequence[PublicKey], check: Callable[[Entry], None] | None = None, *, by: Author) -> int:
        """Take these peers out, in one go; gives how many of them were still there. `former` knows them from then on.

        What `check` raises, which is told of each that is, leaves all in; with it a damaged row is a StoreError.
        """

    def remove_fitting(self, wanted: Filter, *, by: Author) -> int:
        """Take out all peers that fit, a page a transaction, so that a gateway's claims come in between."""


class Load(Protocol):
    """Peers on their way into a registry, a batch at a time. A batch's lines ascend, and no line comes twice."""

    staged: int
    """Peers in this batch so far."""

    def plain(self, lines: Sequence[int], records: Sequence[bytes], *, unlabelled: bool = False) -> None:
        """Stage plain peers: `plain.pack_plain`'s records, and the line of each.

        `unlabelled`: it is said that they have no labels, so that one that is registered with labels is another.
        """

    def peers(self, peers: Iterable[tuple[int, Peer]], said: Mapping[int, Mapping[str, str]] | None = None) -> None:
        """Stage any peers, with the line of each. Raises InvalidValue for a name that cannot be one, and for too much.

        `said`: by line, the labels of those of which labels are said; each is valid.
        """

    def commit(self, refused: Callable[[int, StoreError], None], source: str = "") -> Loaded:
        """Register what is staged, in one transaction, and begin the next batch. `source`: what it was read from.

        Raises StoreBusy, StoreError, and what `refused` raises: then nothing of this batch is registered.
        """


class Claims(Protocol):
    """The claims of a registry, as people manage them."""

    def holder(self, handle: str) -> Registration | Removed:
        """Whose claim a handle means: a peer's or, by its whole key, that of one that was removed.

        Raises NoSuchPeer, AmbiguousHandle.
        """

    def reset(self, key: PublicKey, *, by: Author) -> Claim | None:
        """Forget a peer's claim, so that a client whose clock went back may connect; gives it, None if it had none.

        Of a removed key nothing is known any more.
        """


class Tokens(Protocol):
    """What programs show to the HTTP API."""

    def create(
        self, name: str, scope: Scope, *, by: Author, expires_at: float | None = None, rate: float | None = None
    ) -> tuple[Token, str]:
        """Make a token; gives it and its text, which is shown once and kept nowhere.

        `expires_at` in Unix seconds, `rate` in requests a second. Raises InvalidValue, TokenExists.
        """

    def every(self) -> list[Token]:
        """All of them, by name; also those that are expired or revoked."""

    def page(self, limit: int, after: str | None = None) -> tuple[list[Token], str | None]:
        """The first `limit` tokens by name, or those behind a page's cursor; and the cursor of the next page."""

    def revoke(self, handle: str, *, by: Author) -> Token:
        """Make the token of this name or id worthless; harmless if it is. Raises NoSuchToken."""

    def authenticate(self, text: str, now: float) -> Token | None:
        """The token of this text; None if there is none, or it is expired or revoked. `now` in Unix seconds."""


class Audit(Protocol):
    """Who changed what, when."""

    def page(self, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
        """The newest `limit` entries that fit, or those behind (so, older than) a page's cursor."""

    def prune(self, before: float, *, by: Author) -> int:
        """Delete the entries from before a moment (Unix seconds), a batch a transaction, each noted; gives how many."""


class Answers(Protocol):
    """What the HTTP API answered, kept for a day for requests that are sent again."""

    def find(self, key: str, *, by: Author) -> Answer | None:
        """What was answered to this actor's request with this idempotency key within the last day."""

    def keep(self, key: str, answer: Answer, *, by: Author) -> None:
        """Keep an answer by itself: of a request, such as an import, that may be done again without harm.

        A change that may not be is given a `Once`.
        """


class Registry(Store, Protocol):
    """What people do with a registry, whatever keeps it. Each method is one transaction, or says otherwise."""

    @property
    def peers(self) -> Peers:
        """Who may connect."""

    @property
    def claims(self) -> Claims:
        """Their claims."""

    @property
    def tokens(self) -> Tokens:
        """Who may ask the HTTP API."""

    @property
    def audit(self) -> Audit:
        """Who changed what."""

    @property
    def answers(self) -> Answers:
        """What the HTTP API answered."""
