"""Peers that may not connect although the registry knows them, or knew them before."""

from __future__ import annotations

from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import PutBack
from wgjit.model import Peer, PublicKey, Registration, Standing
from wgjit.refusal import Refusal


def refusal_of(peer: Peer, now: Now) -> Refusal | None:
    """DISABLED or EXPIRED if this registered peer may not connect; None if it may."""
    match peer.standing(now.wall):
        case Standing.DISABLED:
            return Refusal.DISABLED
        case Standing.EXPIRED:
            return Refusal.EXPIRED
        case Standing.ENABLED:
            return None


def put_back(key: PublicKey, registration: Registration | None, now: Now) -> PutBack:
    """The command for a peer that another program put back. `registration` is None if the registry removed the peer."""
    if registration is None:
        return PutBack(key, None, Refusal.UNKNOWN)
    return PutBack(key, registration.peer.name, refusal_of(registration.peer, now) or Refusal.UNKNOWN)
