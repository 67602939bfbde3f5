"""What is told to people about a client: why something happened, and what to do. In the order of `refusal.py`."""

from __future__ import annotations

from typing import NamedTuple

from wgjit.core.vocabulary.told import Departure, NotCompleted, Revocation
from wgjit.refusal import Refusal


class Words(NamedTuple):
    """Why a registered peer was refused, and what to do about it."""

    why: str
    do: str


REFUSED: dict[Refusal, Words] = {
    Refusal.DISABLED: Words("the peer is disabled", "to let it connect: wgjit peer enable"),
    Refusal.EXPIRED: Words(
        "the peer's expiry has passed", "to let it connect: wgjit peer set --expires with a later time"
    ),
    Refusal.STALE: Words(
        "its initiation is not newer than its last one: an old one is repeated, or the client's clock was set back",
        "set the client's clock right; if the clock was wrong before and is right now: wgjit claim reset",
    ),
    Refusal.FUTURE: Words(
        "the client's clock is further ahead than gateway.max_clock_skew allows",
        "set the client's clock right, and this machine's (NTP on both)",
    ),
    Refusal.DRAINING: Words("this gateway drains, and another one serves the peer", "nothing: it connects there"),
    Refusal.RETURNING: Words(
        "this gateway has just ended a drain, and takes over few clients at once", "nothing: its next knock is served"
    ),
    Refusal.CONFLICT: Words(
        "another peer on the interface, which the registry does not know, has one of its addresses",
        "find it with `wg show INTERFACE allowed-ips`; take it off, register it (wgjit adopt), or change the address",
    ),
    Refusal.FULL: Words(
        "the interface has gateway.capacity peers, and none of them may leave", "raise gateway.capacity, or unpin peers"
    ),
    Refusal.DEVICE_FAILED: Words(
        "the interface did not take the peer", "see the warning `fault` with part=device beside this line"
    ),
}
"""Refusals of a peer that is registered, and whose knock is proven. Of others nobody is told at this level: anybody can
send them."""

LEFT: dict[Departure, str] = {
    Departure.IDLE: "no handshake and no data for its idle timeout; it comes back with its next packet",
    Departure.UNCONFIRMED: "it never completed its handshake, and knocks no more",
    Departure.ROOM: "it was the longest idle one, and another peer needed its place",
    Departure.MOVED: "another gateway of the fleet serves it now",
    Departure.UNANSWERED: "this gateway called it, and got no answer; its own gateway keeps it",
}
"""But for REVOKED, which is told when it takes effect."""

REVOKED: dict[Revocation, str] = {
    Revocation.REMOVED: "it was removed from the registry",
    Revocation.DISABLED: "it was disabled",
    Revocation.EXPIRED: "it has expired",
    Revocation.RESET: "its claim was reset; it comes back with its next knock",
    Revocation.UNREGISTERED: "the registry does not know it, and gateway.exclusive is set",
    Revocation.CONFLICT: "a peer that the registry does not know has one of its new addresses",
}


def likely(command: NotCompleted) -> str:
    """Why a peer's handshakes are not completed: the likely causes, the likeliest first.

    WireGuard's answer opens only with the same preshared key on both sides. Whether an answer arrives, this side cannot
    see. But if other peers complete theirs meanwhile, answers do leave this machine.
    """
    if command.has_preshared_key:
        psk = "the client lacks the preshared key that the registry has, or has another"
    else:
        psk = "the client has a preshared key, and the registry has none for it"
    own = "a firewall or NAT near the client keeps the answer from it"
    here = "answers do not leave this machine, or not by the address that the client dials (firewall, route)"
    if command.others_complete:
        return f"{psk}; or {own}"
    if command.was_up:
        return f"the way back has changed: {own}, or {here}; or {psk}"
    return f"{psk}; or {own}; or {here}"
