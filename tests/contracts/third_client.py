"""A third implementation knocks: a client in pure Python, no line of it the kernel's, wireguard-go's or wgjit's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.netns import Lab
from lab.third_client import ThirdClient
from lab.wireguard import Backend
from tests.contracts.gateway_site import INSIDE, LONG, PORT, Site, seamless
from wgjit.model import PresharedKey


class ThirdClientContract:
    """Subclass with a `backend`: the gateway's WireGuard."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    @pytest.fixture
    def third(self, site: Site) -> Iterator[ThirdClient]:
        with _registered(site) as client:
            yield client

    @pytest.mark.parametrize("delivery", ["hold", "replay", "flip"])
    def test_it_connects(self, site: Site, third: ThirdClient, delivery: str) -> None:
        """Its clock seems to be 10 s behind: a gateway that has just begun may want to see its retry, too."""
        if delivery == "flip":
            _lose_all_knocks(site)
        with site.up(delivery) as gateway, gateway.feed() as feed:
            assert third.ping(INSIDE[0], LONG) is not None
            record = feed.next(public_key=str(third.public_key))
            while record["decision"] != "installed":
                assert (record["decision"], record["refusal"], record["proven"]) == ("refused", "stale", True)
                record = feed.next(public_key=str(third.public_key))
            assert (record["name"], record["delivery"], record["proven"]) == ("third", delivery, True)
            assert site.server.peer(third.public_key).last_handshake > 0
            assert third.ping(INSIDE[0], LONG) is not None, "the session goes on"

    @pytest.mark.parametrize("delivery", ["hold", "replay"])
    def test_once_known_its_first_knock_connects(self, site: Site, third: ThirdClient, delivery: str) -> None:
        with site.up(delivery):
            assert third.ping(INSIDE[0], LONG) is not None
        site.server.remove_peer(third.public_key)
        third.forget()
        with site.up(delivery) as gateway:
            assert seamless(third.ping(INSIDE[0], LONG))
            assert gateway.status()["decisions"]["installed"] == 1

    def test_a_preshared_key(self, site: Site) -> None:
        with _registered(site, PresharedKey.generate()) as third, site.up("hold"):
            assert third.ping(INSIDE[0], LONG) is not None


def _registered(site: Site, psk: PresharedKey | None = None) -> ThirdClient:
    client = ThirdClient(site.direct, site.server.public_key, ("10.9.0.1", PORT), "10.8.0.99", preshared_key=psk)
    site.registry.add([client.registration])
    return client


def _lose_all_knocks(site: Site) -> None:
    """Drop the client's initiations after packet sockets have seen them: only the gateway's own can complete."""
    chain = "chain input { type filter hook input priority 0; " + f"udp dport {PORT} @th,64,8 1 drop; }}"
    site.gateway.run("nft", "-f", "-", input=f"table inet lose_knocks {{ {chain}; }}")
