"""The values that a registry takes and returns, whatever keeps it."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wgjit.errors import StoreError
from wgjit.model import AllowedIP, Peer, PublicKey, Standing
from wgjit.wire.key_text import quoted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


# --- peers, and listings of them ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on a peer. A peer fits if it meets all of them."""

    labels: Mapping[str, str] = field(default_factory=dict)
    state: Standing | None = None
    name_prefix: str | None = None
    """Upper and lower case are different."""
    expires_before: int | None = None
    """Unix seconds."""

    @property
    def is_empty(self) -> bool:
        """Whether every peer fits."""
        return self == Filter()

    def cursor(self, last: Peer) -> str:
        """The cursor of a page that ends with this peer: the peer's place in the order of the listing.

        The order is by name with `name_prefix`, by expiry and key if the filter asks for expiry, and otherwise, or with
        labels, by key. The peer's key stands for a name that is withheld, since no name can be a key.
        """
        if not self.labels and self.name_prefix is not None:
            return str(last.public_key) if last.name is None else last.name
        if not self.labels and (self.expires_before is not None or self.state is Standing.EXPIRED):
            return f"{last.expires_at}:{last.public_key}"
        return str(last.public_key)


EVERY = Filter()
"""The filter that every peer fits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A peer as a listing shows it."""

    peer: Peer
    labels: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    """Which of `name` and `labels` are left out, or are left out in part, because the registry has a key in them."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing. `cursor` is where the next page begins, None on the last page."""

    entries: list[Entry]
    cursor: str | None


# --- the audit log ------------------------------------------------------------------------------------------------


class Verb(StrEnum):
    """The kind of a change."""

    ADD = "add"
    SET = "set"
    ENABLE = "enable"
    DISABLE = "disable"
    ROTATE = "rotate"
    REMOVE = "remove"
    CLAIM_RESET = "claim-reset"
    IMPORT = "import"
    ADOPT = "adopt"
    TOKEN_CREATE = "token-create"
    TOKEN_REVOKE = "token-revoke"
    AUDIT_PRUNE = "audit-prune"
    GATEWAY_FORGET = "gateway-forget"


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a change. `actor` is the name in the audit log: `token deploy`, `alice by command line`."""

    actor: str

    @classmethod
    def process(cls, surface: str) -> Author:
        """The account that runs this process, and the kind of program: `root (sudo: alice) by command line`.

        SUDO_USER is believed if root runs the process. sudo sets it then, and root can change the file anyway.
        """
        uid = os.getuid()
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid {uid}"
        behind = os.environ.get("SUDO_USER", "") if uid == 0 else ""
        return cls(f"{name} (sudo: {behind}) by {surface}" if behind else f"{name} by {surface}")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the log. `at` is in Unix seconds; `old_key` is the key that a rotation replaced."""

    id: int
    at: float
    actor: str
    verb: str
    public_key: PublicKey | None
    old_key: PublicKey | None
    name: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions on an entry, which must meet all. For `actor` and `verb` the entries are read one by one."""

    public_key: PublicKey | None = None
    """The key of the entry's peer. The peer may be removed, or may have another key since."""
    actor: str | None = None
    verb: str | None = None
    since: float | None = None
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A part of the log, newest first. `cursor` is where the next page begins, None on the last page."""

    entries: list[AuditEntry] = field(default_factory=list)
    cursor: int | None = None


# --- tokens -------------------------------------------------------------------------------------------------------


class Scope(StrEnum):
    """What a token may do. Each scope except `gateway` includes the scopes before it."""

    READ = "read"
    """Read peers, but never a preshared key."""
    WRITE = "write"
    """Change peers."""
    ADMIN = "admin"
    """Everything: also tokens, the audit log and preshared keys."""
    GATEWAY = "gateway"
    """Read peers with preshared keys, and the stream of changes: what a gateway needs of its registry."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. Moments in Unix seconds; `rate` in requests a second, None is the configured rate."""

    id: str
    name: str
    scope: Scope
    rate: float | None
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None

    def is_valid(self, now: float) -> bool:
        """Whether the token is neither expired nor revoked."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


# --- gateways -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    """A gateway of a fleet, as it described itself last. Moments in Unix seconds."""

    name: str
    instance: bytes
    """Drawn once for each replica. Two gateways never have the same."""
    epoch: int
    """The start of the gateway's process, Unix milliseconds."""
    public_key: PublicKey
    """The interface's. All gateways of a fleet have one."""
    interface: str
    address: str | None
    """Where its clients reach it, as configured."""
    version: str
    """Of wgjit."""
    residents: int
    lag: float | None
    """Seconds by which its copy of the registry is behind; None while the first copy is made."""
    clock_offset: float | None
    """Seconds by which the database's clock is ahead of the gateway's; None if it was not measured."""
    started_at: float
    """By the gateway's clock."""
    draining: bool
    """It takes over no clients, and lets its own go."""
    service: str | None
    """The addresses that it shares with other gateways, with commas between; None if it shares none."""
    seen_at: float
    """By the database's clock, as `lives`."""
    lives: bool
    """Whether it was seen within the last 10 seconds."""


# --- pools --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pool:
    """A prefix from which single addresses are given out."""

    prefix: AllowedIP
    quarantine: int = 86400
    """Seconds for which a freed address is not given out again."""
    reserved: tuple[Address, ...] = ()
    """Addresses that are never given out, besides the first address of the prefix and, for IPv4, the last."""


# --- answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was given: the request's fingerprint (SHA-256 of method, path and body), HTTP status, body."""

    fingerprint: bytes
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request whose change is made once, however often an actor sends it with this key.

    `answer` returns HTTP status and body for the changed peer. An error that it raises undoes the change.
    """

    key: str
    fingerprint: bytes
    answer: Callable[[Entry], tuple[int, bytes]]


class AnsweredBefore(StoreError):
    """This actor's request with this key was done before. If `answer.fingerprint` differs, it was another request."""

    def __init__(self, key: str, answer: Answer) -> None:
        super().__init__(f"idempotency key {quoted(key, 40)}: was used before; this is not done again")
        self.answer = answer


# --- many peers at once -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of a batch, in numbers of peers."""

    added: int
    present: int
    """Peers that equal a registered peer, maybe one of an earlier line of the batch. Labels are compared if they are
    stated."""
    refused: int
    updated: int = 0
    """Registered peers that got a name or labels of the import."""


def _untold(_line: int, _text: str) -> None:
    """Tells nobody."""


def allowed() -> None:
    """Allows every commit."""


@dataclass(frozen=True, slots=True)
class Loading:
    """How a batch is registered; `loading.again` has the rules."""

    update: bool = False
    """Merge names and labels into registered peers."""
    guessed: bool = False
    """The names are guesses, or the source can hold none: a name never refuses a peer."""
    told: Callable[[int, str], None] = _untold
    """Gets the line of a peer whose name is left out, and why."""
    settled: Callable[[], None] = allowed
    """Called in the transaction, when all refused peers are told. If it raises, nothing of the batch is registered."""


PLAINLY = Loading()
"""As the peers are, and nothing is merged."""
