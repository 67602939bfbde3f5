"""Rules and error texts that all registries share, so that a refusal reads the same in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wgjit.errors import AddressConflict, GatewayLives, InvalidValue, NoSuchGateway, NoSuchPeer, PeerExists
from wgjit.model import AllowedIP, Peer, PublicKey, Registration, Removed, refuse_key
from wgjit.wire.key_text import WITHHELD, holds_key, quoted

NAME_LENGTH = 200
"""Greatest length of a peer's name, characters."""

MOST_ALLOWED_IPS = 1024
"""Greatest number of allowed IPs of a peer. A page of peers, and an install, have to hold them."""


def check_name(name: str | None) -> None:
    """Raise InvalidValue for an invalid name: empty, too long, unprintable, padded with spaces, or with a key in it."""
    if name is None:
        return
    if not name or len(name) > NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise InvalidValue(
            f"name {quoted(name, NAME_LENGTH)}: write 1 to {NAME_LENGTH} printable characters, no space at either end",
            field="name",
        )
    refuse_key(name, "name")


def check_allowed_ips(prefixes: Sequence[AllowedIP | str]) -> None:
    """Raise InvalidValue for too many allowed IPs."""
    if len(prefixes) > MOST_ALLOWED_IPS:
        raise InvalidValue(
            f"allowed IPs: {len(prefixes)} are too many; a peer has {MOST_ALLOWED_IPS} at most: write wider prefixes",
            field="allowed_ips",
        )


def check_peer(peer: Peer) -> None:
    """Raise InvalidValue for a peer that no registry accepts: an invalid name, or too many allowed IPs."""
    check_name(peer.name)
    check_allowed_ips(peer.allowed_ips)


def changed(peer: Peer, how: Callable[[Peer], Peer]) -> Peer:
    """The peer that `how` returns, checked. Raises InvalidValue: another key, an invalid name, too many allowed IPs."""
    after = how(peer)
    if after.public_key != peer.public_key:
        raise InvalidValue(
            f"public key {after.public_key}: a peer's key does not change; remove {label(peer)} and add the other",
            field="public_key",
        )
    check_name(after.name)
    if after.allowed_ips != peer.allowed_ips:
        check_allowed_ips(after.allowed_ips)
    return after


def parse_key(handle: str) -> PublicKey | None:
    """The key that a handle spells; None if the handle is no key."""
    try:
        return PublicKey.parse(handle)
    except InvalidValue:
        return None


def claim_holder(
    handle: str, registration: Callable[[str], Registration], former: Callable[[PublicKey], Removed | None]
) -> Registration | Removed:
    """The peer whose claim a handle means: a registered one, or a removed one by its whole key.

    `registration` finds a registered peer by a handle, `former` a removed one by its key. Raises NoSuchPeer,
    AmbiguousHandle.
    """
    try:
        return registration(handle)
    except NoSuchPeer:
        key = parse_key(handle)
        if key is None or (found := former(key)) is None:
            raise
        return found


def printable(text: str | None) -> str:
    """A text in a form that a terminal may show. Another program may have put control characters, or a key, into it."""
    if text is None:
        return "-"
    if holds_key(text):
        return WITHHELD
    return text if text.isprintable() else repr(text)


def label(peer: Peer) -> str:
    """A peer as messages name it: `alice (base64 key)`, or the key alone. Safe to print."""
    return f"{printable(peer.name)} ({peer.public_key})" if peer.name else str(peer.public_key)


def conflict(new: Peer, prefix: AllowedIP, owner: Peer, owned: AllowedIP) -> AddressConflict:
    """The error for two overlapping prefixes, of two peers or of one."""
    if new.public_key == owner.public_key:
        text = f"allowed IPs of {label(new)}: {prefix} and {owned} overlap; list only the wider one"
    else:
        text = f"allowed IP {prefix} of {label(new)} overlaps {owned} of {label(owner)}; one of the two must give way"
    return AddressConflict(text, new.public_key, field="allowed_ips", other=owner.public_key)


def key_exists(new: Peer, present: Peer) -> PeerExists:
    """The error for a public key that is taken."""
    text = f"public key {new.public_key}: registered already as {label(present)}"
    return PeerExists(text, new.public_key, field="public_key", other=present.public_key)


def name_exists(new: Peer, present: Peer) -> PeerExists:
    """The error for a name that is taken."""
    return PeerExists(
        f"name {quoted(new.name or '')}: taken by peer {present.public_key}; choose another for {new.public_key}",
        new.public_key,
        field="name",
        other=present.public_key,
    )


def no_such_gateway(name: str) -> NoSuchGateway:
    """The error for a name that no gateway has."""
    return NoSuchGateway(f"gateway {quoted(name)}: there is none with this name; `wgjit gateways` lists them")


def gateway_lives(name: str, ago: float) -> GatewayLives:
    """The error for a gateway that is to be forgotten and still runs."""
    return GatewayLives(f"gateway {quoted(name)}: was seen {ago:.0f} s ago, so it runs; stop it first")


def no_such_peer(handle: str) -> NoSuchPeer:
    """The error for a handle that no peer has."""
    who = f"peer {quoted(handle)}" if parse_key(handle) is None else "peer of this public key"
    return NoSuchPeer(f"no {who} is registered", advice="`wgjit peer list` shows all")
