"""Watches flips: deliveries in which the gateway initiates, because the client's packet is lost.

A flip installs the peer with the client's endpoint and a persistent keepalive, so the kernel sends an initiation at
once (`wg_packet_send_keepalive` on 0 -> N, netlink.c). Two steps follow:

- When the handshake is complete, the keepalive is set back. Else both ends would fight over the initiator's role.
- When there is no handshake in time, either the gateway's initiation was lost, or the client's initiation reached
  WireGuard after the install: then both sides initiated, and each dropped the other's answer. The peer is reinstalled
  once, so that the gateway initiates again. If that fails too, the peer is reinstalled without endpoint and keepalive.
  Then the gateway is silent, and the client's own retry, 5 s after its first try, meets a quiet responder.

The silent install alone would not be enough. After a race that it lost, wireguard-go does not try again before it has
more to send, since it counts its answer to the gateway as its last try.

A replay that led to no session (`replays`) is followed by a flip, too. This flip is the second try and is not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgjit.core.delivery.replays import CONFIRMED, Replays
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import FlipOutcome
from wgjit.model import DevicePeer, Endpoint, Peer, PeerChange, PublicKey

KEEPALIVE = 25
"""Seconds. Any value above 0 makes the kernel initiate. This value does no harm if the gateway dies before it is set
back."""

LOOKS = (0.25, 0.5, 1.0, 2.0, 3.5)
"""Seconds after the install at which the device is read. A reading at the last time or later decides. That is before
the client tries again, after REKEY_TIMEOUT (5 s)."""

REPEAT = CONFIRMED
"""Seconds after the install. If a reading then shows no handshake, the gateway initiates again."""

FRESH = 0.1
"""Seconds. An older reading does not lead to a second try, since a session may have come up after the reading."""

LOOK_AGAIN = 0.5
"""Seconds until the next look if a decision is due, but the device could not be read."""


@dataclass(slots=True)
class _Flip:
    peer: Peer
    initiate: PeerChange
    """The change that installed the peer and made the kernel initiate."""
    started: float
    next_look: float
    repeated: bool = False


def initiation(peer: Peer, source: Endpoint) -> PeerChange:
    """The install that makes the kernel initiate to the client that knocked from `source`."""
    return PeerChange.install(peer, source, peer.keepalive or KEEPALIVE)


class Flips:
    """Flips whose handshake is not confirmed yet. There are as many as installs in the last 3.5 s."""

    def __init__(self) -> None:
        self._running: dict[PublicKey, _Flip] = {}
        self.replays = Replays()

    def start(self, peer: Peer, source: Endpoint, now: Now, repeated: bool = False) -> None:
        """The peer was just installed by the change of `initiation`. `repeated`: this was the second try."""
        first = now.monotonic + LOOKS[0]
        self._running[peer.public_key] = _Flip(peer, initiation(peer, source), now.monotonic, first, repeated)

    def abandon(self, key: PublicKey) -> None:
        """Stop watching the peer, because it was removed or updated."""
        self._running.pop(key, None)
        self.replays.abandon(key)

    def watches(self, key: PublicKey) -> bool:
        """Whether a flip or a replay of this peer is being watched."""
        return key in self._running or self.replays.watches(key)

    def next_deadline(self, may_look: float) -> float | None:
        """When the device should be read next, monotonic seconds; None if never. For replays not before `may_look`."""
        replays = self.replays.next_deadline()
        deadlines = [flip.next_look for flip in self._running.values()]
        if replays is not None:
            deadlines.append(max(replays, may_look))
        return min(deadlines, default=None)

    def due(self, now: float, may_look: float) -> bool:
        """Whether the device should be read now for a flip or a replay."""
        deadline = self.next_deadline(may_look)
        return deadline is not None and deadline <= now

    def judge(
        self, peers: Mapping[PublicKey, DevicePeer], began: float, now: Now
    ) -> tuple[list[PeerChange], dict[PublicKey, FlipOutcome]]:
        """Decide from a reading of the device that began at `began`: the changes to make, and the outcomes of flips."""
        changes: list[PeerChange] = []
        outcomes: dict[PublicKey, FlipOutcome] = {}
        for key, flip in list(self._running.items()):
            covered = flip.started <= began  # a reading that began before the install does not show it
            seen = peers.get(key)
            if seen is not None and not seen.is_whole:
                flip.next_look = now.monotonic + LOOK_AGAIN  # the reading does not tell whether there is a handshake
            elif covered and seen is None:
                del self._running[key]  # another program removed the peer: there is nothing to watch
            elif covered and seen and seen.last_handshake > 0:  # the peer was new, so the handshake is this flip's
                del self._running[key]
                outcomes[key] = FlipOutcome.COMPLETED
                if flip.peer.keepalive != KEEPALIVE:
                    changes.append(PeerChange(key, update_only=True, keepalive=flip.peer.keepalive))
            elif began >= flip.started + LOOKS[-1]:
                del self._running[key]
                outcomes[key] = FlipOutcome.GIVEN_UP
                # Only a removal stops the kernel's own retries (MAX_TIMER_HANDSHAKES, 90 s). There is no session to
                # lose.
                changes += [PeerChange(key, remove=True), PeerChange.install(flip.peer)]
            else:
                if not flip.repeated and began >= flip.started + REPEAT and now.monotonic <= began + FRESH:
                    flip.repeated = True
                    outcomes[key] = FlipOutcome.REPEATED
                    changes += _again(key, flip.initiate)
                to_come = (flip.started + look for look in LOOKS if flip.started + look > now.monotonic)
                flip.next_look = next(to_come, now.monotonic + LOOK_AGAIN)
        for failed in self.replays.judge(peers, began, now):
            key = failed.peer.public_key
            outcomes[key] = FlipOutcome.REPEATED
            changes += _again(key, initiation(failed.peer, failed.source))
            self.start(failed.peer, failed.source, now, repeated=True)
        return changes, outcomes


def _again(key: PublicKey, initiate: PeerChange) -> list[PeerChange]:
    """Reinstall the peer. Only a new peer initiates at once; any other waits REKEY_TIMEOUT after its last handshake."""
    return [PeerChange(key, remove=True), initiate]
