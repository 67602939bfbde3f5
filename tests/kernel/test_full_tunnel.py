"""docs/FULL-TUNNEL.md: with its commands, and not without, a client's traffic reaches the Internet and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.netns import Lab
from lab.wireguard import Backend, Client
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless
from tests.unit import pages

PAGE = Path(__file__).parents[2] / "docs/FULL-TUNNEL.md"
FAR = ("203.0.113.9", "2001:db8:9::9")
"""A server of the Internet, which has no route to the clients' addresses."""
BACKEND: Backend = "kernel"


class Way:
    """A site whose gateway has an uplink to the Internet, and a client that sends everything into the tunnel."""

    def __init__(self, lab: Lab) -> None:
        self.site = Site(lab, BACKEND)
        self.internet = lab.namespace("internet")
        self.uplink = lab.link(
            self.site.gateway,
            self.internet,
            ["198.51.100.1/24", "2001:db8:1::1/64"],
            ["198.51.100.254/24", "2001:db8:1::254/64"],
        )
        self.internet.ip(*(f"address add {address} dev lo" for address in FAR))
        self.site.gateway.ip("route add default via 198.51.100.254", "route add default via 2001:db8:1::254")
        self.client = Client(
            self.site.direct,
            self.site.server.public_key,
            f"10.9.0.1:{PORT}",
            ["10.8.0.2/32", "fd08::2/128"],
            ["0.0.0.0/0", "::/0"],
            backend=BACKEND,
        )
        # WireGuard's own packets go to 10.9.0.1, which is on the link: they need no mark to pass by the tunnel.
        self.site.direct.ip(*(f"route add {every} dev {self.client.name}" for every in ("0.0.0.0/0", "::/0")))
        self.site.registry.add([self.client.registration])

    def obey(self) -> None:
        """Run the page's commands on the gateway, with this site's names in the place of the page's."""
        etc = self.site.lab.folder / "etc"
        (etc / "sysctl.d").mkdir(parents=True)
        names = {"eth0": self.uplink.a, "wg0": self.site.server.name, "fd00:8::/64": "fd08::/64", "/etc/": f"{etc}/"}
        steps = pages.steps(PAGE)
        assert len(steps) == 2
        for commands, _ in steps:
            for theirs, ours in names.items():
                commands = commands.replace(theirs, ours)
            self.site.gateway.run("bash", "-euc", commands)

    def rules(self) -> str:
        return self.site.gateway.run("nft", "list", "table", "inet", "full_tunnel")


@pytest.fixture
def way(lab: Lab) -> Iterator[Way]:
    made = Way(lab)
    yield made
    made.site.registry.close()


def test_the_pages_commands_lead_a_client_to_the_internet_and_nobody_to_a_client(way: Way) -> None:
    with way.site.up("hold"):
        assert seamless(way.client.first_ping(INSIDE[0]))
        for far in FAR:
            assert way.client.ping(far, timeout=0.5) is None, "a gateway alone forwards nothing"
        way.obey()
        for far in FAR:
            assert way.client.ping(far, timeout=10.0) is not None, far
        way.internet.ip("route add 10.8.0.2 via 198.51.100.1", "route add fd08::2 via 2001:db8:1::1")
        for inside in ("10.8.0.2", "fd08::2"):
            assert way.internet.ping(inside, timeout=0.5) is None, inside
        assert "counter packets 0" not in way.rules(), "each rule was needed"


def test_the_rules_may_be_loaded_again_and_a_client_may_begin_with_the_internet(way: Way) -> None:
    way.obey()
    once = way.rules()
    way.site.gateway.run("nft", "-f", str(way.site.lab.folder / "etc/full-tunnel.nft"))
    assert way.rules() == once
    with way.site.up("hold"):
        assert seamless(way.client.first_ping(FAR[0]))
