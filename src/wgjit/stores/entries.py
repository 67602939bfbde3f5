"""The values that registries take and give, whatever keeps them."""

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
    """What a peer must be like: all of it."""

    labels: Mapping[str, str] = field(default_factory=dict)
    state: Standing | None = None
    name_prefix: str | None = None
    """Upper and lower case are two things."""
    expires_before: int | None = None
    """Unix seconds."""

    @property
    def is_empty(self) -> bool:
        """Fits every peer."""
        return self == Filter()

    def cursor(self, last: Peer) -> str:
        """Where a page of these ended whose last peer is this one: its place in the order.

        The order is that of names with `name_prefix`, of expiry and key if expiry is asked for, and else, or with
        labels, of keys. A name that is withheld is stood for by the peer's key, which no name can be.
        """
        if not self.labels and self.name_prefix is not None:
            return str(last.public_key) if last.name is None else last.name
        if not self.labels and (self.expires_before is not None or self.state is Standing.EXPIRED):
            return f"{last.expires_at}:{last.public_key}"
        return str(last.public_key)


EVERY = Filter()
"""Every peer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A peer as a listing shows it."""

    peer: Peer
    labels: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    """Of `name` and `labels`, what is left out, or in part, since the registry has it with a key in it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing. `cursor` is where the next begins, None if this is the last."""

    entries: list[Entry]
    cursor: str | None


# --- the audit log ------------------------------------------------------------------------------------------------


class Verb(StrEnum):
    """What was done."""

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


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change. `actor` is what the audit log calls them: `token deploy`, `alice by command line`."""

    actor: str

    @classmethod
    def process(cls, surface: str) -> Author:
        """Who runs this process, and by what: `root (sudo: alice) by command line`.

        Root's SUDO_USER is believed, as sudo set it; root could write anything into the file anyway.
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
    """An entry of the log. `at` is in Unix seconds; `old_key` is the key that a rotation took."""

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
    """What an entry must be like: all of it. By `actor` and `verb`, entries are looked at one by one."""

    public_key: PublicKey | None = None
    """Of the peer, also if it is removed, or has another key since."""
    actor: str | None = None
    verb: str | None = None
    since: float | None = None
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Part of the log, newest first. `cursor` is where the next begins, None if this is the last."""

    entries: list[AuditEntry] = field(default_factory=list)
    cursor: int | None = None


# --- tokens -------------------------------------------------------------------------------------------------------


class Scope(StrEnum):
    """What a token may do. Each but `gateway` may do what those before it may."""

    READ = "read"
    """Look at peers; never at a preshared key."""
    WRITE = "write"
    """Change peers."""
    ADMIN = "admin"
    """All: tokens, the audit log, preshared keys."""
    GATEWAY = "gateway"
    """Read, with preshared keys and the stream of changes: what a gateway needs whose registry this is."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. Moments in Unix seconds; `rate` in requests a second, None is the configured one."""

    id: str
    name: str
    scope: Scope
    rate: float | None
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None

    def is_valid(self, now: float) -> bool:
        """Neither expired nor revoked."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


# --- pools --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pool:
    """A prefix to give single addresses out of."""

    prefix: AllowedIP
    quarantine: int = 86400
    """Seconds for which a freed address is given to nobody."""
    reserved: tuple[Address, ...] = ()
    """Never given out, besides the first address and, of IPv4, the last."""


# --- answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: fingerprint (SHA-256 of method, path and body) of the request, HTTP status, body."""

    fingerprint: bytes
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Once:
    """Asks that a change be made once for all requests of an actor with this key.

    `answer` gives HTTP status and body for the peer as it became. What it raises undoes the change.
    """

    key: str
    fingerprint: bytes
    answer: Callable[[Entry], tuple[int, bytes]]


class AnsweredBefore(StoreError):
    """This actor's request with this key was done already. If `answer.fingerprint` differs, it was another request."""

    def __init__(self, key: str, answer: Answer) -> None:
        super().__init__(f"idempotency key {quoted(key, 40)}: was used before; this is not done again")
        self.answer = answer


# --- many peers at once -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a batch."""

    added: int
    present: int
    """Equal to a peer that is registered, maybe by an earlier line of the same batch; in its labels, too, if they are
    said."""
    refused: int
