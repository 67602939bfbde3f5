"""Watches replays: whether each replay led to a session.

A replay may be lost on its way. WireGuard may also answer twice, since it handles each packet on a worker of any CPU.
The first copy may wait so long that it finds the peer installed. If another worker handles the replay at the same time,
both packets pass the replay check before either has written its timestamp (`wg_noise_handshake_consume_initiation`,
noise.c). The client then uses the first answer and WireGuard the second, and the next handshake comes after 15 s.

No kernel tells when its workers are done with a packet (docs/DELIVERY.md), but the device tells whether a handshake was
confirmed. If it was not, the peer is reinstalled, and the gateway initiates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wgjit.core.vocabulary.moment import Now
from wgjit.model import DevicePeer, Endpoint, Peer, PublicKey

CONFIRMED = 1.0
"""Seconds after the install within which a replay's handshake should be confirmed. It is more than a round trip,
because packets that are under way at a reinstall are lost."""

FRESH = 1.0
"""Seconds. An older reading does not decide, since a session may have come up after the reading. It is longer than a
flip's, since this is the first try: a session that came up so late is made anew within a round trip."""

GIVEN_UP = 20.0
"""Seconds after the install. Then a replay is not watched any more, even if no reading could decide: its client has
begun another handshake by then, or is gone."""

AT_ONCE = 4
"""Most peers that are reinstalled after one look, since each costs a removal. More failures at once are not chance;
they are left to the clients' own retries."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A peer installed for a replay, its client's endpoint, and the time of the install (monotonic seconds)."""

    peer: Peer
    source: Endpoint
    started: float


class Replays:
    """Replays whose handshake is not confirmed yet. There are as many as installs since the last look or two."""

    def __init__(self) -> None:
        self._waiting: dict[PublicKey, Replayed] = {}
        """The oldest replay is first."""

    def start(self, peer: Peer, source: Endpoint, now: Now) -> None:
        """The peer was just installed, and its packet is replayed."""
        self._waiting.pop(peer.public_key, None)
        self._waiting[peer.public_key] = Replayed(peer, source, now.monotonic)

    def abandon(self, key: PublicKey) -> None:
        """Stop watching the peer, because it was removed or updated."""
        self._waiting.pop(key, None)

    def watches(self, key: PublicKey) -> bool:
        """Whether a replay of this peer is being watched."""
        return key in self._waiting

    def next_deadline(self) -> float | None:
        """When the device should be read for the oldest replay, monotonic seconds; None if there is none."""
        oldest = next(iter(self._waiting.values()), None)
        return None if oldest is None else oldest.started + CONFIRMED

    def judge(self, peers: Mapping[PublicKey, DevicePeer], began: float, now: Now) -> list[Replayed]:
        """The replays that failed, by a reading that began at `began`. Constant time for each in `peers` or overdue."""
        for key, seen in peers.items():
            if seen.last_handshake > 0:  # the peer was new, so the handshake is this replay's
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
