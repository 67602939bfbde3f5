"""Recordings of handshakes that no gateway has accepted have no effect when they are sent after their peer has left.

Their timestamps are newer than the claim, so the claim alone cannot refuse them. docs/SECURITY.md says what does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.gateway import Feed
from lab.netns import Lab
from lab.wireguard import Backend, Client
from tests.contracts.gateway_replays import saved
from tests.contracts.gateway_site import INSIDE, Site, seamless, wait_for
from tests.contracts.gateway_witness import Thief, Wire


class UnseenContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, backend)
            yield site
            site.registry.close()

    def test_what_was_made_while_no_gateway_ran(self, site: Site) -> None:
        """A resident's handshakes in that time, before a crash and after it, once the peer has left."""
        client, thief = site.client(), Thief(site)
        with Wire(site.gateway, site.link.a) as wire:
            gateway = site.up()
            assert seamless(client.first_ping(INSIDE[0]))
            wait_for(lambda: saved(site, client.public_key) is not None)
            gateway.kill()
            end = time.time() + 2
            while site.server.peer(client.public_key).last_handshake < end:
                client.forget()
                assert seamless(client.first_ping(INSIDE[0])), "without a gateway, residents shake hands"
            unseen = wire.initiations("10.9.0.2")[1:]
            with site.up_in_a_hurry() as gateway, gateway.feed() as feed:
                wait_for(lambda: inferred(site, client))
                wait_for(lambda: site.server.peers() == {})
                nothing_comes_of(list(dict.fromkeys([unseen[0], unseen[-1]])), thief, feed, site, wire)
                assert_it_gets_in(client, feed)

    def test_what_was_made_before_the_first_start(self, site: Site) -> None:
        """The interface had its peers, and got a gateway; the client's clock is known to nobody."""
        client, thief = site.client(), Thief(site)
        registered = client.registration
        site.server.add_peer(registered.public_key, [str(prefix) for prefix in registered.allowed_ips])
        with Wire(site.gateway, site.link.a) as wire:
            assert seamless(client.first_ping(INSIDE[0]))
            unseen = wire.initiations("10.9.0.2")
            with site.up_in_a_hurry() as gateway, gateway.feed() as feed:
                wait_for(lambda: site.server.peers() == {})
                nothing_comes_of(list(dict.fromkeys(unseen)), thief, feed, site, wire)
                assert_it_gets_in(client, feed)

    @pytest.mark.parametrize("verb", ["disable", "remove"])
    def test_what_was_made_while_its_peer_might_not_connect(self, site: Site, verb: str) -> None:
        client, thief = site.client(), Thief(site)
        with Wire(site.gateway, site.link.a) as wire, site.up() as gateway, gateway.feed() as feed:
            assert seamless(client.first_ping(INSIDE[0]))
            if verb == "disable":
                site.registry.replace(replace(client.registration, enabled=False))
            else:
                site.registry.remove(client.public_key)
            wait_for(lambda: site.server.peers() == {})
            client.forget()
            assert client.first_ping(INSIDE[0], timeout=0.5) is None
            refusal = "disabled" if verb == "disable" else "unknown"
            assert feed.next(public_key=str(client.public_key), refusal=refusal)["proven"]
            recorded = wire.initiations("10.9.0.2")
            assert len(recorded) == 2
            if verb == "disable":
                site.registry.replace(client.registration)
            else:
                site.registry.add([client.registration])
            nothing_comes_of(recorded, thief, feed, site, wire)
            assert_it_gets_in(client, feed)


def inferred(site: Site, client: Client) -> bool:
    found = site.registry.lookup(client.public_key)
    return found is not None and found.claim is not None and found.claim.proven is not None


def nothing_comes_of(recorded: list[bytes], thief: Thief, feed: Feed, site: Site, wire: Wire) -> None:
    time.sleep(1.1)  # within a second of the true one, it would be a mere duplicate
    for old in recorded:
        thief.send(old)
        record = feed.next()
        while not record["source"].startswith(f"{Thief.ADDRESS}:"):
            record = feed.next()
        assert (record["refusal"], record["proven"]) == ("stale", True)
    assert site.server.peers() == {}
    assert wire.sent_to(Thief.ADDRESS) == []


def assert_it_gets_in(client: Client, feed: Feed) -> None:
    """At once: the thief does not stand in the true client's way."""
    client.forget()
    assert seamless(client.first_ping(INSIDE[0]))
    assert feed.next(public_key=str(client.public_key), refusal=None)["decision"] == "installed"
