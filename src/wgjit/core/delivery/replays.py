"""The watch over replays: of each it is seen whether a session came of it.

A replay may be lost on its way, and WireGuard may answer twice. It takes a packet on a worker of any CPU. If the first
copy waited for so long that it finds its peer after all, and another worker takes the replay in the same moment, both
pass the check against replays before either has written its timestamp (`wg_noise_handshake_consume_initiation`,
noise.c). The client goes by the first answer, WireGuard by the second, and the next handshake comes after 15 s.
No kernel tells when its workers are done with a packet (docs/DELIVERY.md), but the device tells whether a handshake was
confirmed. A peer of which it does not is installed anew, and this side initiates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgjit.core.vocabulary import Now
from wgjit.model import DevicePeer, Endpoint, Peer, PublicKey

CONFIRMED = 1.0
"""Seconds after its install in which a replay's handshake should have been confirmed: more than a round trip, since
what is under way then is lost with the peer."""

FRESH = 1.0
"""Seconds: what an older reading did not see may have come up since. Longer than a flip's, since this is the first try:
a session that came up that late is made anew within a round trip."""

GIVEN_UP = 20.0
"""Seconds after its install at which a replay is watched no more, though no reading was good for a decision: its client
has begun a handshake of its own by then, or is not there."""

AT_ONCE = 4
"""Peers that one look may have installed anew: each costs a removal. When more fail at once it is not by chance: the
rest is left to the clients' own retries."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A peer that was installed for a replay, the client's endpoint, and when (monotonic seconds)."""

    peer: Peer
    source: Endpoint
    started: float


class Replays:
    """Replays whose handshake is not confirmed yet. Their number is that of installs since the last look or two."""

    def __init__(self) -> None:
        self._waiting: dict[PublicKey, Replayed] = {}
        """The oldest first."""

    def start(self, peer: Peer, source: Endpoint, now: Now) -> None:
        """The peer was just installed, and its packet is put back."""
        self._waiting.pop(peer.public_key, None)
        self._waiting[peer.public_key] = Replayed(peer, source, now.monotonic)

    def abandon(self, key: PublicKey) -> None:
        """The peer is not ours to watch any more: it was removed or updated."""
        self._waiting.pop(key, None)

    def watches(self, key: PublicKey) -> bool:
        """Whether a replay for this peer is waited for."""
        return key in self._waiting

    def next_deadline(self) -> float | None:
        """When the device should be read for the oldest of them, monotonic seconds."""
        oldest = next(iter(self._waiting.values()), None)
        return None if oldest is None else oldest.started + CONFIRMED

    def judge(self, peers: Mapping[PublicKey, DevicePeer], began: float, now: Now) -> list[Replayed]:
        """Those that a reading of the device shows to have failed. Constant time for each in `peers`, or over."""
        for key, seen in peers.items():
            if seen.last_handshake > 0:  # it was new to the device: this replay's handshake
                self._waiting.pop(key, None)
        failed: list[Replayed] = []
        for key, replayed in list(self._waiting.items()):
            if began < replayed.started + CONFIRMED:
                break
            found = peers.get(key)
            is_told = found is None or (found.is_whole and now.monotonic <= began + FRESH)
            if not is_told and began < replayed.started + GIVEN_UP:
                continue
            del self._waiting[key]
            if is_told and found is not None and len(failed) < AT_ONCE:
                failed.append(replayed)
        return failed
