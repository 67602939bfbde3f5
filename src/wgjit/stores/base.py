"""The protocols of a registry: Store is what a gateway calls, Registry is what commands and the HTTP API call.

A lookup has three results, and no code mixes them: "found" is a Registration, "absent" is None, and "could not ask" is
a raised StoreError.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from wgjit.errors import StoreError
from wgjit.model import (
    AllowedIP,
    Change,
    Claim,
    Cover,
    Endpoint,
    Holding,
    OtherGateway,
    Peer,
    PublicKey,
    Registration,
    Removed,
)
from wgjit.stores.entries import (
    EVERY,
    Answer,
    AuditFilter,
    AuditPage,
    Author,
    Entry,
    Filter,
    GatewayEntry,
    IdempotentRequest,
    Loaded,
    Loading,
    Page,
    Pool,
    Scope,
    Token,
)


class Store(Protocol):
    """The gateway's side of a registry. All calls raise StoreError if the registry cannot be asked."""

    is_local: bool
    """True if a lookup costs less than a Diffie-Hellman. The gateway then looks a key up before it proves the key."""

    @property
    def fleet(self) -> Fleet | None:
        """What this gateway says to the other gateways of its fleet, and hears of them; None if it is in no fleet."""

    def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
        """The peer of this key with its last claim, or None if no such peer is registered.

        With `for_knock=False` no packet waits for the answer. A store that asks a service then lets lookups for knocks
        go first, and raises StoreDeferred if that takes too long.
        """

    def former(self, key: PublicKey) -> Removed | None:
        """What is left of a removed peer. None if the peer is registered, or if nothing is known of it.

        A store that asks a service may have forgotten the peer.
        """

    def save_claims(self, claims: Sequence[Claim]) -> None:
        """Save claims in one transaction, each as `Claim.over` the stored claim. Claims of removed keys are saved, too.

        Claims of unknown keys are left out.
        """

    def identity(self) -> bytes:
        """The identity of this registry. A new value means that another registry is in its place.

        Nothing that was known of the old registry holds then, and the old change log does not go on.
        """

    def last_change(self) -> int:
        """The sequence number of the newest change; 0 if there was none."""

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """Updates and removals of peers by any process, oldest first, with a sequence number above `after`.

        Numbers have no holes, but the log is bounded. If the first number is not `after + 1`, the changes in between
        are lost, and the reader has to look up every peer that it remembers. New peers are not in the log.
        """

    def keep_fresh(self, concerned: Callable[[], Collection[PublicKey]]) -> None:
        """Name the keys that matter from now on. A store that asks a service renews its answers for these keys."""

    def addresses_version(self) -> Hashable:
        """A value that changes when an address is registered. It may also change without that."""

    def cover(self, within: Collection[AllowedIP], limit: int) -> Cover | None:
        """About `limit` prefixes at most, which hold every registered prefix inside one of `within`.

        Each is longer than the prefix of `within` that it lies in. Returns None if the store does not know all peers.
        """

    def pinned(self, after: PublicKey | None = None, limit: int = 10_000) -> list[PublicKey]:
        """Keys of registered peers that are pinned and enabled, in their order after the key `after`.

        A store that asks a service knows those of which the service has told it.
        """

    def pinned_version(self) -> Hashable:
        """A value that changes when a peer becomes pinned, whoever writes it. It may also change without that."""

    def figures(self) -> dict[str, Any]:
        """Figures for people: the state of a store that asks a service. Empty for a local store."""

    def close(self) -> None:
        """Close the registry. A second call does nothing."""


class Fleet(Protocol):
    """A gateway's side of its fleet: claims and holdings that gateways share by the registry of record.

    The gateway's own copy of the registry (the replica) takes what is said, and hands it on when the registry of record
    can be reached. So no call here waits for the registry of record, except `ask`.
    """

    def start(self) -> None:
        """Begin to follow the registry of record. Waits a moment for its first word, and goes on without.

        Raises GatewayNameTaken if another living gateway has this gateway's name, StoreUnreachable for a URL that can
        never work.
        """

    def say(self, claims: Sequence[Claim], holdings: Sequence[Holding]) -> None:
        """Save these in the replica, in one transaction, and queue them for the registry of record.

        Each is saved as `Claim.over` and `Holding.over` the stored one. Raises StoreError; then nothing was saved.
        """

    def hear(self, after: int, limit: int = 1000) -> tuple[list[Holding], int]:
        """Holdings of other gateways that reached the replica after the place `after`, oldest first, and the new place.

        Also this gateway's own holdings of another epoch. A peer's older holding is left out once a newer one has
        arrived. The first place is 0. With a `limit` of 0 only the newest place is told. Raises StoreError.
        """

    def held_at(self, endpoint: Endpoint) -> list[Registration]:
        """The registered peers that are held at this endpoint now, by any gateway; three at most. Raises StoreError."""

    def held_elsewhere(self, after: PublicKey | None, limit: int = 1000) -> tuple[list[Endpoint], PublicKey | None]:
        """Endpoints of peers that other gateways hold, in the order of keys after `after`, and the last key.

        None as the last key: there are no more. Raises StoreError.
        """

    def ask(self, key: PublicKey) -> Registration | Removed | None:
        """Ask the registry of record for a key that the replica does not have. May wait; thread-safe.

        Raises StoreError if no server answers in time, StoreDeferred if too many keys were asked for.
        """

    def fileno(self) -> int:
        """A descriptor that can be read when the replica has got something, or the state of the fleet has changed."""

    def read(self) -> bool:
        """Whether there was news since the last call. Makes the descriptor silent."""

    def is_behind(self) -> bool:
        """Whether registered peers may be missing in the replica: it is being made, or has not been renewed lately."""

    def lag(self) -> float | None:
        """Seconds since the replica was as the registry of record; None if it does not have all peers yet."""

    def clock_offset(self) -> float | None:
        """Seconds by which the clock of the registry of record is ahead of ours; None if it is not known."""

    def set_residents(self, count: int) -> None:
        """Tell the fleet how many residents this gateway has, with its next heartbeat."""

    def set_draining(self, draining: bool) -> None:
        """Tell the fleet at once whether this gateway drains, and with its heartbeats."""

    def others(self) -> list[OtherGateway]:
        """The other gateways of the fleet by name, as the last heartbeat heard of them. Raises StoreError.

        Whether they live is known only while heartbeats succeed: otherwise none is said to live.
        """

    def trouble(self) -> StoreError | None:
        """Why the registry of record is not followed or not written to at the moment; None if all is well."""

    def name_taken(self) -> StoreError | None:
        """The error for a living gateway of another machine that has this gateway's name; None if there is none."""

    def other_keys(self) -> list[str]:
        """The names of living gateways whose interfaces have another private key than this gateway's."""


class Peers(Protocol):
    """The peers of a registry, as people manage them. Each change takes its author (`by`) for the audit log."""

    def resolve(self, handle: str) -> PublicKey:
        """The key of the peer that has this name, key or address, or whose key begins so (4 characters at least).

        Works for a peer whose row is damaged, too, so that the peer can be removed. Raises NoSuchPeer, AmbiguousHandle.
        """

    def registration(self, handle: str) -> Registration:
        """The peer that a handle means, with its last claim. Raises NoSuchPeer, AmbiguousHandle."""

    def entry(self, key: PublicKey) -> Entry:
        """One peer as a listing shows it. Raises NoSuchPeer."""

    def labels(self, key: PublicKey) -> dict[str, str]:
        """A peer's labels, empty if there are none."""

    def names(self, prefix: str, limit: int) -> list[str]:
        """The first `limit` names with this prefix, in order."""

    def page(self, wanted: Filter, limit: int, after: str | None = None) -> Page:
        """The first `limit` peers that fit, or the next after a page's cursor. Raises InvalidValue for a bad cursor."""

    def entries(self, wanted: Filter, after: str | None = None, page: int = 1000) -> Iterator[Entry]:
        """All peers that fit, as a stream. Each `page` of peers is read in a transaction of its own."""

    def every(self, after: PublicKey | None = None) -> Iterator[Peer]:
        """All peers in key order after the key `after`, as a stream. Each peer is as it was when its part was read."""

    def count(self, wanted: Filter = EVERY) -> int:
        """The number of peers that fit. Reads all of these peers, except for the empty filter."""

    def search(self, text: str, limit: int, *, anywhere: bool = False) -> list[Entry]:
        """Peers whose name or key begins with `text`, that own an address in it, or that have it as a label.

        `limit` at most. With `anywhere` also peers whose name contains `text` anywhere, for which all names are read.
        """

    def hand_out(
        self,
        peer: Peer,
        given: Mapping[str, str],
        some: Sequence[Pool] = (),
        before_commit: Callable[[Peer], None] = ...,
        *,
        by: Author,
        once: IdempotentRequest | None = None,
    ) -> Peer:
        """Register a peer with labels, its own allowed IPs and an address of each pool. Returns the peer as registered.

        No two processes get the same address. An error that `before_commit` raises undoes everything. Raises
        PeerExists, AddressConflict, InvalidValue, PoolExhausted, AnsweredBefore.
        """

    def adopt(self, peers: Iterable[Peer], *, by: Author) -> int:
        """Register the peers of an interface, either all of them or none. Returns their number.

        Raises PeerExists, AddressConflict, InvalidValue, and what the iterable raises.
        """

    def load(self, *, by: Author, cache: int = ...) -> AbstractContextManager[Load]:
        """Register many peers. This is faster than one by one, and can leave out the peers that are refused.

        Peers that are staged but not committed are dropped. Each batch that adds peers is one entry of the audit log.
        `cache`: KiB of memory for each of the load's connections, of which there are two at most. Raises StoreBusy,
        StoreError.
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
        """Change a peer to what `how` returns for it, and add and remove labels, in one transaction with the reading.

        `check` gets the peer as it was before. If `check` raises an error, nothing changes. Raises NoSuchPeer,
        AddressConflict, PeerExists (the name), InvalidValue (another key), and what `how` raises.
        """

    def rotate(
        self,
        key: PublicKey,
        new: PublicKey,
        before_commit: Callable[[Peer], None] = ...,
        check: Callable[[Entry], None] = ...,
        *,
        by: Author,
        once: IdempotentRequest | None = None,
    ) -> Peer:
        """Replace a peer's key by a new one. Everything else stays, except the claim, which belonged to the old key.

        A gateway sees a removal: the old key loses its session within a second. `check` gets the peer as it was before.
        An error that `before_commit` or `check` raises undoes the change. Raises NoSuchPeer, PeerExists,
        AnsweredBefore.
        """

    def remove_all(self, keys: Sequence[PublicKey], check: Callable[[Entry], None] | None = None, *, by: Author) -> int:
        """Remove these peers in one transaction. Returns how many were registered. `former` knows them from then on.

        `check` gets each peer that is registered; if `check` raises an error, no peer is removed. With `check`, a
        damaged row is a StoreError.
        """

    def remove_fitting(self, wanted: Filter, *, by: Author) -> int:
        """Remove all peers that fit, one page per transaction, so that a gateway can save claims in between."""


class Load(Protocol):
    """Peers on their way into a registry, in batches. The line numbers of a batch ascend, and none comes twice."""

    staged: int
    """Peers in this batch so far."""

    def plain(self, lines: Sequence[int], records: Sequence[bytes], *, unlabelled: bool = False) -> None:
        """Stage plain peers: the records of `plain.pack_plain`, and the line of each.

        `unlabelled`: the source says that these peers have no labels. A registered peer with labels then counts as
        different.
        """

    def peers(self, peers: Iterable[tuple[int, Peer]], said: Mapping[int, Mapping[str, str]] | None = None) -> None:
        """Stage any peers, each with its line. Raises InvalidValue for an invalid name, too many allowed IPs or labels.

        `said`: labels by line, for the peers whose labels the source states. Each label is valid.
        """

    def commit(self, refused: Callable[[int, StoreError], None], source: str = "", how: Loading = ...) -> Loaded:
        """Register the staged peers in one transaction, and begin the next batch.

        `source`: where the peers were read from. Raises StoreBusy, StoreError, and what `refused` and `how.settled`
        raise. After an error no peer of this batch is registered.
        """


class Claims(Protocol):
    """The claims of a registry, as people manage them."""

    def holder(self, handle: str) -> Registration | Removed:
        """The peer whose claim a handle means. A removed peer is found by its whole key.

        Raises NoSuchPeer, AmbiguousHandle.
        """

    def reset(self, key: PublicKey, *, by: Author) -> Claim | None:
        """Delete a peer's claim, so that a client whose clock was set back may connect. Returns the claim, or None.

        For a removed key, all that is left of the peer is deleted.
        """


class Tokens(Protocol):
    """The tokens that programs show to the HTTP API."""

    def create(
        self, name: str, scope: Scope, *, by: Author, expires_at: float | None = None, rate: float | None = None
    ) -> tuple[Token, str]:
        """Make a token. Returns the token and its text, which is shown once and stored nowhere.

        `expires_at` in Unix seconds, `rate` in requests a second. Raises InvalidValue, TokenExists.
        """

    def every(self) -> list[Token]:
        """All tokens by name, also those that are expired or revoked."""

    def page(self, limit: int, after: str | None = None) -> tuple[list[Token], str | None]:
        """The first `limit` tokens by name, or the next after a page's cursor, and the cursor of the next page."""

    def revoke(self, handle: str, *, by: Author) -> Token:
        """Revoke the token with this name or id. Harmless if the token is revoked already.

        Raises NoSuchToken, AmbiguousHandle.
        """

    def authenticate(self, text: str, now: float) -> Token | None:
        """The token of this text. None if there is none, or if it is expired or revoked. `now` in Unix seconds."""

    def hashes(self, now: float) -> dict[str, bytes]:
        """The hashes of all tokens that are neither expired nor revoked, by id. `now` in Unix seconds."""


class Audit(Protocol):
    """The audit log: who changed what, when."""

    def page(self, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
        """The newest `limit` entries that fit, or the next older ones after a page's cursor."""

    def prune(self, before: float, *, by: Author) -> int:
        """Delete entries older than `before` (Unix seconds). Returns their number.

        Entries are deleted in batches, one per transaction, and each batch is noted in the log.
        """


class Gateways(Protocol):
    """The gateways of a fleet, as they describe themselves. There are none in a registry on one machine."""

    def every(self) -> list[GatewayEntry]:
        """All gateways by name, also those that were not seen for long."""

    def forget(self, name: str, *, by: Author) -> GatewayEntry:
        """Delete what a gateway said of itself. It comes back if it still runs. Returns what was deleted.

        Raises NoSuchGateway; GatewayLives if the gateway was seen within the last 10 seconds.
        """


class Answers(Protocol):
    """Answers of the HTTP API, kept for a day, for requests that are sent again."""

    def find(self, key: str, *, by: Author) -> Answer | None:
        """The answer to this author's request with this idempotency key, if there was one within the last day."""

    def keep(self, key: str, answer: Answer, *, by: Author) -> None:
        """Keep an answer apart from any change, for requests that may be repeated without harm, such as an import.

        A change that must not be repeated takes an `IdempotentRequest`.
        """


class Registry(Store, Protocol):
    """What people do with a registry. Each method is one transaction unless its text says otherwise."""

    @property
    def peers(self) -> Peers:
        """The peers that may connect."""

    @property
    def claims(self) -> Claims:
        """The peers' claims."""

    @property
    def tokens(self) -> Tokens:
        """The tokens for the HTTP API."""

    @property
    def audit(self) -> Audit:
        """The log of who changed what."""

    @property
    def gateways(self) -> Gateways:
        """The gateways that share this registry."""

    @property
    def answers(self) -> Answers:
        """The kept answers of the HTTP API."""
