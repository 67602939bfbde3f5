"""Who may not connect, though the registry knows, or knew, them."""

from __future__ import annotations

from wgjit.core.vocabulary import Now, PutBack
from wgjit.model import Peer, PublicKey, Registration, Standing
from wgjit.refusal import Refusal


def refusal_of(peer: Peer, now: Now) -> Refusal | None:
    """May this registered peer connect at all? DISABLED or EXPIRED if not."""
    match peer.standing(now.wall):
        case Standing.DISABLED:
            return Refusal.DISABLED
        case Standing.EXPIRED:
            return Refusal.EXPIRED
        case Standing.ENABLED:
            return None


def put_back(key: PublicKey, registration: Registration | None, now: Now) -> PutBack:
    """Somebody has put this peer back into the device; None: it was removed from the registry."""
    if registration is None:
        return PutBack(key, None, Refusal.UNKNOWN)
    return PutBack(key, registration.peer.name, refusal_of(registration.peer, now) or Refusal.UNKNOWN)
