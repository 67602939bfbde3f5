"""Tokens, gateways and entries of the audit log as JSON objects, and the key that a request for audit entries means."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from wgjit.errors import NoSuchPeer
from wgjit.model import PublicKey
from wgjit.stores import checks
from wgjit.stores.base import Registry
from wgjit.stores.entries import AuditEntry, GatewayEntry, Token
from wgjit.times import show_moment
from wgjit.wire.key_text import quoted


class TokenState(StrEnum):
    """The state of a token."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


def token_state(token: Token, now: float) -> TokenState:
    """The state of a token at `now` (Unix seconds)."""
    if token.revoked_at is not None:
        return TokenState.REVOKED
    return TokenState.VALID if token.is_valid(now) else TokenState.EXPIRED


def token_fields(token: Token, now: float) -> dict[str, Any]:
    """A token as a JSON object, without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "scope": str(token.scope),
        "rate": token.rate,
        "state": str(token_state(token, now)),
        "created_at": show_moment(token.created_at),
        "expires_at": show_moment(token.expires_at),
        "last_used_at": show_moment(token.last_used_at),
        "revoked_at": show_moment(token.revoked_at),
    }


def gateway_fields(gateway: GatewayEntry) -> dict[str, Any]:
    """A gateway of a fleet as a JSON object."""
    return {
        "name": gateway.name,
        "lives": gateway.lives,
        "address": gateway.address,
        "interface": gateway.interface,
        "public_key": str(gateway.public_key),
        "version": gateway.version,
        "residents": gateway.residents,
        "lag": gateway.lag,
        "clock_offset": gateway.clock_offset,
        "draining": gateway.draining,
        "service": [] if gateway.service is None else gateway.service.split(","),
        "started_at": show_moment(gateway.started_at),
        "seen_at": show_moment(gateway.seen_at),
    }


def audit_fields(entry: AuditEntry) -> dict[str, Any]:
    """An entry of the audit log as a JSON object."""
    return {
        "id": entry.id,
        "at": show_moment(entry.at),
        "actor": entry.actor,
        "verb": entry.verb,
        "public_key": None if entry.public_key is None else str(entry.public_key),
        "name": entry.name,
        "details": dict(entry.details),
    }


def audited_key(registry: Registry, handle: str) -> PublicKey:
    """The key whose entries a handle means. Any whole key is accepted, also of a removed peer.

    Raises NoSuchPeer, AmbiguousHandle.
    """
    key = checks.parse_key(handle)
    if key is not None:
        return key
    try:
        return registry.peers.resolve(handle)
    except NoSuchPeer:
        raise NoSuchPeer(
            f"no peer {quoted(handle)} is registered; of one that was removed, give the whole public key"
        ) from None
