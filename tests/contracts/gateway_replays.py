"""An eavesdropper's recordings have no effect: not while the peer is resident, and not after a crash and a reboot."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.netns import Lab
from lab.wireguard import TICK, Backend, WireGuard
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from tests.contracts.gateway_witness import Thief, Wire
from wgjit.model import PublicKey, Tai64n
from wgjit.wire.messages import RESPONSE
from wgjit.wire.noise import Initiator

SAVED = 1.0
"""Seconds until a proven timestamp is in the registry: a round each 0.25 s, on a busy machine."""


class ReplaysContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, backend)
            yield site
            site.registry.close()

    def test_a_recorded_initiation_is_stale_after_a_crash_and_a_reboot(self, site: Site) -> None:
        """And while the peer is resident it moves no endpoint; in no case does the thief get an answer."""
        client, late, thief = site.client(), site.client(), Thief(site)
        key = client.public_key
        with Wire(site.gateway, site.link.a) as wire:
            gateway = site.up()
            with gateway.feed() as feed:
                assert seamless(client.first_ping(INSIDE[0]))
                assert feed.next()["decision"] == "installed"
                client.forget()
                assert seamless(client.first_ping(INSIDE[0]))
                newest = Tai64n.parse(feed.next(decision="resident")["timestamp"])
                recorded = wire.initiations("10.9.0.2")
                assert len(recorded) == 2
                endpoint = site.server.peer(key).endpoint
                for old in recorded:
                    thief.send(old)
                    assert feed.next()["refusal"] in ("stale", "duplicate")
                assert seamless(client.ping(INSIDE[0]))
                assert site.server.peer(key).endpoint == endpoint
                wait_for(lambda: saved(site, client.public_key) == newest, SAVED)

            # A crash, and a machine that starts anew: what is left is the registry.
            gateway.kill()
            site.server.close()
            site.server = WireGuard(
                site.gateway,
                ["10.8.0.1/16", "fd08::1/64"],
                private_key=site.server.private_key,
                listen_port=PORT,
                backend=site.backend,
                name=site.server.name,
            )
            with site.up() as gateway, gateway.feed() as feed:
                for old in recorded:
                    thief.send(old)
                    record = feed.next()
                    assert (record["refusal"], record["proven"], record["public_key"]) == ("stale", True, str(key))
                    assert record["source"].startswith(f"{Thief.ADDRESS}:")
                assert site.server.peers() == {}
                assert seamless(late.first_ping(INSIDE[0]))  # what WireGuard answers, it has answered by now
                assert set(site.server.peers()) == {late.public_key}
                assert wire.sent_to(Thief.ADDRESS) == []
                client.forget()
                assert seamless(client.first_ping(INSIDE[0])), "the thief must not stand in the true client's way"

    def test_a_claim_that_a_crash_has_lost_gives_a_thief_one_answer_and_no_session(self, site: Site) -> None:
        """The worst that can come of it, as docs/RELIABILITY.md says: a recording of this moment, which nobody saw."""
        client, thief = site.client(), Thief(site)
        key = client.public_key
        with Wire(site.gateway, site.link.a) as wire, site.up() as gateway, gateway.feed() as feed:
            stamp = Tai64n.from_unix(time.time())
            recording = Initiator(client.private_key, site.server.public_key).initiate(1, stamp)
            thief.send(recording)
            assert feed.next()["decision"] == "installed"
            wait_for(lambda: len(wire.sent_to(Thief.ADDRESS)) == 1)
            assert wire.sent_to(Thief.ADDRESS)[0].payload[0] == RESPONSE
            peer = site.server.peer(key)
            assert peer.endpoint is not None
            assert str(peer.endpoint).startswith(f"{Thief.ADDRESS}:")
            assert peer.last_handshake == 0, "a session without the private key"
            thief.send(recording)
            assert feed.next()["refusal"] in ("stale", "duplicate")
            time.sleep(TICK)
            assert seamless(client.first_ping(INSIDE[0]))
            peer = site.server.peer(key)
            assert peer.last_handshake > 0
            assert str(peer.endpoint).startswith("10.9.0.2:"), "the true client's next knock takes the endpoint back"
            assert len(wire.sent_to(Thief.ADDRESS)) == 1


def saved(site: Site, key: PublicKey) -> Tai64n | None:
    """The greatest timestamp that the registry has of a peer."""
    found = site.registry.lookup(key)
    return None if found is None or found.claim is None else found.claim.timestamp
