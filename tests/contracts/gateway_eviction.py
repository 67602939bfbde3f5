"""Which peers leave the interface, and that no other peer notices: on real WireGuard, with the daemon's short times.

With `lab.hasty`, a session is over and a peer is idle after a few seconds. What depends on the true 180 s is in
tests/kernel/test_patience.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lab.gateway import WGJIT, Gateway
from lab.hasty import IDLE, SESSION
from lab.netns import Lab, ping_from_here
from lab.wireguard import Backend, Client, peer_section
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, sent_packets, wait_for
from tests.contracts.site import collect
from wgjit.drivers.capture.packet import PacketCapture
from wgjit.model import NEVER, Endpoint, Peer, PrivateKey, Tai64n
from wgjit.wire.noise import Initiator
from wgjit.wire.packets import Datagram, peel


class EvictionContract:
    """Subclass with a `backend`."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    def test_the_idle_leave_the_busy_and_the_pinned_stay(self, site: Site) -> None:
        idle, busy, pinned = (site.client() for _ in range(3))
        site.registry.replace(replace(pinned.registration, idle_timeout=NEVER))
        with site.up_in_a_hurry() as gateway, gateway.feed() as feed:
            for client in (idle, pinned):
                assert seamless(client.first_ping(INSIDE[0]))
            assert seamless(busy.first_ping(INSIDE[0]))
            with pinging(busy) as lost:
                wait_for(lambda: idle.public_key not in site.server.peers())
                time.sleep(IDLE)
            assert not lost
            assert set(site.server.peers()) == {busy.public_key, pinned.public_key}
            assert gateway.status()["departures"] == {"idle": 1}
            idle.forget()
            assert seamless(idle.first_ping(INSIDE[0])), "who left comes back as it came"
            assert feed.next(public_key=str(idle.public_key), decision="installed")
            assert feed.next(public_key=str(idle.public_key))["decision"] == "installed"

    def test_who_is_pinned_is_there_without_a_knock_also_after_a_reboot(self, site: Site) -> None:
        client, other = site.client(), site.client()
        pin = [*WGJIT, "peer", "set", str(client.public_key), "--idle-timeout", "never", "--store", str(site.path)]
        with site.up_in_a_hurry() as gateway:
            assert seamless(client.first_ping(INSIDE[0]))
            wait_for(lambda: site.server.peers() == {})
            site.gateway.run(*pin)
            wait_for(lambda: set(site.server.peers()) == {client.public_key})
            assert gateway.status()["arrivals"] == {"installed": 1, "pinned": 1}
        site.server.remove_peer(client.public_key)  # as a reboot does
        with site.up_in_a_hurry() as gateway:
            wait_for(lambda: set(site.server.peers()) == {client.public_key})
            host = str(client.registration.allowed_ips[0].network_address)
            assert seamless(site.gateway.ping(host, timeout=20.0)), "traffic from inside begins the session"
            assert seamless(other.first_ping(INSIDE[0]))
            site.server.remove_peer(client.public_key)  # somebody else does
            wait_for(lambda: client.public_key in site.server.peers())

    def test_an_old_initiation_after_its_peers_eviction_does_nothing(self, site: Site) -> None:
        client, elsewhere = site.client(), site.client(registered=False)
        assert elsewhere.namespace is not client.namespace
        recorder = site.gateway.call(PacketCapture, PORT)
        try:
            with site.up_in_a_hurry() as gateway, gateway.feed() as feed:
                assert seamless(client.first_ping(INSIDE[0]))
                assert feed.next(public_key=str(client.public_key))["decision"] == "installed"
                recorded = peel(collect(recorder, 1)[0].packet)
                assert isinstance(recorded, Datagram)
                wait_for(lambda: site.server.peers() == {})
                assert gateway.status()["departures"] == {"idle": 1}
                before = site.gateway.call(sent_packets)
                with elsewhere.namespace.socket() as udp:
                    udp.sendto(recorded.payload, (str(device_address(elsewhere)), PORT))
                record = feed.next()
                assert (record["refusal"], record["public_key"]) == ("stale", str(client.public_key))
                assert Endpoint.parse(record["source"]).address != recorded.source.address
                time.sleep(0.2)
                assert site.server.peers() == {}
                assert site.gateway.call(sent_packets) == before
                client.forget()
                assert seamless(client.first_ping(INSIDE[0]))
                endpoint = site.server.peer(client.public_key).endpoint
                assert endpoint is not None
                assert endpoint.port == client.port
        finally:
            recorder.close()

    def test_a_handshake_that_is_never_completed_leaves_soon(self, site: Site) -> None:
        client, other = site.client(), site.client()
        initiator = Initiator(client.private_key, site.server.public_key)
        with site.up_with(unconfirmed_timeout=1.0) as gateway, gateway.feed() as feed:
            silent = initiator.initiate(1, Tai64n.from_unix(time.time()))
            site.send([silent])
            assert feed.next()["decision"] == "installed"
            wait_for(lambda: gateway.status()["departures"] == {"unconfirmed": 1})
            assert site.server.peers() == {}
            site.send([silent])
            assert feed.next()["refusal"] == "stale"
            assert seamless(client.first_ping(INSIDE[0]))
            later = Initiator(other.private_key, site.server.public_key).initiate(1, Tai64n.from_unix(time.time()))
            site.send([later])
            wait_for(lambda: gateway.status()["departures"] == {"unconfirmed": 2})
            assert set(site.server.peers()) == {client.public_key}, "this one was completed"

    def test_a_full_interface_makes_room_for_who_knocks(self, site: Site) -> None:
        first, second, third = (site.client() for _ in range(3))
        with site.up_in_a_hurry(idle=3600, capacity=1) as gateway, gateway.feed() as feed:
            assert seamless(first.first_ping(INSIDE[0]))
            with pinging(first) as lost:
                assert second.first_ping(INSIDE[0], timeout=1.0) is None
                assert feed.next(public_key=str(second.public_key))["refusal"] == "full"
                second.remove_peer(second.server)
                time.sleep(2 * SESSION)
            assert not lost
            assert gateway.status()["departures"] == {}
            time.sleep(1.5 * SESSION)
            assert third.first_ping(INSIDE[0], timeout=60.0) is not None
            assert set(site.server.peers()) == {third.public_key}
            assert gateway.status()["departures"] == {"room": 1}

    # --- by the registry's word -------------------------------------------------------------------------------

    def test_a_resident_that_expires_loses_its_session(self, site: Site) -> None:
        client, other = site.client(), site.client()
        with site.up():
            assert seamless(client.first_ping(INSIDE[0]))
            assert seamless(other.first_ping(INSIDE[0]))
            moment = int(time.time()) + 2
            site.registry.replace(replace(client.registration, expires_at=moment))
            with pinging(other) as lost:
                wait_for(lambda: client.public_key not in site.server.peers())
            assert time.time() >= moment
            assert not lost
            assert client.ping(INSIDE[0], timeout=0.5) is None

    def test_many_that_are_revoked_at_once_pass_nothing_any_more(self, site: Site) -> None:
        """Their removal is paced; their addresses go at once."""
        client, other = site.client(), site.client()
        crowd = [Peer(PrivateKey.generate().public()) for _ in range(300)]
        site.registry.add(crowd)
        site.server.configure("\n".join(peer_section(peer.public_key) for peer in crowd))
        with site.up() as gateway:
            assert seamless(client.first_ping(INSIDE[0]))
            assert seamless(other.first_ping(INSIDE[0]))
            with pinging(other) as lost:
                for peer in (*crowd, client.registration):
                    site.registry.remove(peer.public_key)
                wait_for(lambda: client.ping(INSIDE[0], timeout=0.2) is None)
                wait_for(lambda: set(site.server.peers()) == {other.public_key})
            assert not lost
            assert gateway.status()["departures"] == {"revoked": 301}

    def test_peers_that_the_registry_does_not_know_leave_with_exclusive(self, site: Site) -> None:
        known, foreign = site.client(), site.client(registered=False)
        for client in (known, foreign):
            site.server.add_peer(client.public_key, [str(prefix) for prefix in client.registration.allowed_ips])
            assert seamless(client.first_ping(INSIDE[0]))
        with site.up("auto", "--exclusive"):
            wait_for(lambda: set(site.server.peers()) == {known.public_key})
            assert seamless(known.ping(INSIDE[0]))


@contextmanager
def pinging(client: Client, interval: float = 0.3) -> Iterator[list[float]]:
    """Ping through the tunnel all the while; gives the moments at which no answer came."""
    lost: list[float] = []
    over = threading.Event()

    def ping() -> None:
        while not over.wait(interval):
            if ping_from_here(INSIDE[0], timeout=20.0) is None:
                lost.append(time.monotonic())

    thread = threading.Thread(target=client.namespace.call, args=(ping,))
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


def device_address(client: Client) -> str:
    """The gateway's address on the client's own link."""
    return f"10.10.{client.addresses[0].ip.packed[-1]}.1"


__all__ = ["EvictionContract", "Gateway", "pinging"]
