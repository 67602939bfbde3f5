"""The recorder of test vectors, with the kernel's WireGuard and with wireguard-go. Each has a test_vectors.py.

It records only sessions of our Initiator that the gateway accepted as live, with and without a preshared key, over IPv4
and IPv6, and through a cookie. So this also tests our client against a real gateway.
"""

from __future__ import annotations

from lab.netns import Lab
from lab.vectors import BACKENDS, Recorder
from lab.wireguard import Backend
from tests.unit.wire.vectors import handshakes, load
from wgjit.wire.messages import Initiation, parse_initiation
from wgjit.wire.noise import Claimed, Responder
from wgjit.wire.tai64n import Tai64n


class RecorderContract:
    def test_a_new_recording_is_like_the_one_that_is_kept(self, lab: Lab, backend: Backend) -> None:
        implementation = next(name for name, itself in BACKENDS.items() if itself == backend)
        kept, fresh = load(implementation), Recorder(lab, implementation).record()
        assert fresh.keys() == kept.keys()
        assert [entry.keys() for entry in fresh["handshakes"]] == [entry.keys() for entry in kept["handshakes"]]
        assert [entry["name"] for entry in fresh["handshakes"]] == [entry["name"] for entry in kept["handshakes"]]
        assert len(fresh["unfinished"]) == len(kept["unfinished"]) == 2
        for handshake in handshakes(fresh):
            responder = Responder(handshake.responder)
            initiation = parse_initiation(handshake.message("initiation"))
            assert isinstance(initiation, Initiation)
            claimed = responder.identify(initiation)
            assert isinstance(claimed, Claimed)
            assert claimed.public_key == handshake.initiator.public()
            assert isinstance(responder.prove(claimed), Tai64n)
