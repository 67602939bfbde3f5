"""The watch over flips: deliveries in which the gateway initiates, because the client's packet is lost.

A flip installs the peer with the client's endpoint and a persistent keepalive, so the kernel sends an initiation
at once (`wg_packet_send_keepalive` on 0 -> N, netlink.c). Two things must follow. When the handshake is there, the
keepalive is set back, or both ends would fight over the initiator's role. When it is not there in time, it is that
the client's initiation reached WireGuard after the peer had, so both sides initiated, and each dropped the other's
answer; or that ours was lost. Then the peer is installed anew, once, so that this side initiates again. If that fails,
too, it is put back without endpoint and keepalive, so that this side is silent and the client's own retry, 5 s after
its first try, meets a quiet responder. (Alone that would not do: of a race that it lost, wireguard-go never tries
again before there is more to send, since its answer to us counts as its last try.)

A replay of which no session came (`replays`) is followed by a flip, too: its second try, so it is not run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgjit.core.delivery.replays import CONFIRMED, Replays
from wgjit.core.vocabulary import FlipOutcome, Now
from wgjit.model import DevicePeer, Endpoint, Peer, PeerChange, PublicKey

KEEPALIVE = 25
"""Seconds. Any value above 0 makes the kernel initiate; this one does no harm if we die before setting it back."""

LOOKS = (0.25, 0.5, 1.0, 2.0, 3.5)
"""Seconds after the install at which the device is read. A reading that begins at the last or later decides: before
REKEY_TIMEOUT (5 s), after which the client tries again."""

REPEAT = CONFIRMED
"""Seconds after the install at which a reading without a handshake makes us initiate again."""

FRESH = 0.1
"""Seconds: what an older reading did not see may have come up since, and is not put at risk for a second try."""

LOOK_AGAIN = 0.5
"""Seconds until the next look when there should have been a decision, but the device could not be read."""


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
    """Flips whose handshake is not confirmed yet. Their number is that of installs of the last 3.5 s."""

    def __init__(self) -> None:
        self._running: dict[PublicKey, _Flip] = {}
        self.replays = Replays()

    def start(self, peer: Peer, source: Endpoint, now: Now, repeated: bool = False) -> None:
        """The peer was just installed by what `initiation` said; `repeated` if that was not the first try."""
        first = now.monotonic + LOOKS[0]
        self._running[peer.public_key] = _Flip(peer, initiation(peer, source), now.monotonic, first, repeated)

    def abandon(self, key: PublicKey) -> None:
        """The peer is not ours to watch any more: it was removed or updated."""
        self._running.pop(key, None)
        self.replays.abandon(key)

    def watches(self, key: PublicKey) -> bool:
        """Whether a flip of this peer is running, or a replay is waited for."""
        return key in self._running or self.replays.watches(key)

    def next_deadline(self, may_look: float) -> float | None:
        """When the device should be read next, monotonic seconds; for replays alone not before `may_look`."""
        replays = self.replays.next_deadline()
        deadlines = [flip.next_look for flip in self._running.values()]
        if replays is not None:
            deadlines.append(max(replays, may_look))
        return min(deadlines, default=None)

    def due(self, now: float, may_look: float) -> bool:
        """Is it time to read the device for one of them?"""
        deadline = self.next_deadline(may_look)
        return deadline is not None and deadline <= now

    def judge(
        self, peers: Mapping[PublicKey, DevicePeer], began: float, now: Now
    ) -> tuple[list[PeerChange], dict[PublicKey, FlipOutcome]]:
        """What a reading of the device means: the changes to make, and what became of flips."""
        changes: list[PeerChange] = []
        outcomes: dict[PublicKey, FlipOutcome] = {}
        for key, flip in list(self._running.items()):
            covered = flip.started <= began  # a reading that began before the install says nothing of it
            seen = peers.get(key)
            if seen is not None and not seen.is_whole:
                flip.next_look = now.monotonic + LOOK_AGAIN  # whether it has a handshake was not told
            elif covered and seen is None:
                del self._running[key]  # somebody removed the peer: there is nothing to watch
            elif covered and seen and seen.last_handshake > 0:  # it was new to the device: this flip's handshake
                del self._running[key]
                outcomes[key] = FlipOutcome.COMPLETED
                if flip.peer.keepalive != KEEPALIVE:
                    changes.append(PeerChange(key, update_only=True, keepalive=flip.peer.keepalive))
            elif began >= flip.started + LOOKS[-1]:
                del self._running[key]
                outcomes[key] = FlipOutcome.GIVEN_UP
                # Only a removal stops the kernel's own retries (MAX_TIMER_HANDSHAKES, 90 s). No session is lost:
                # there was none.
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
    """Only a new peer initiates at once: another would wait for REKEY_TIMEOUT since it last sent a handshake."""
    return [PeerChange(key, remove=True), initiate]
