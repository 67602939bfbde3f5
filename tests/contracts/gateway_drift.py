"""The device changes under a running gateway: a peer is removed by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.gateway import WGJIT, Gateway
from lab.netns import CommandFailed, Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from tests.contracts.gateway_witness import steady

RETRIES = 5
"""The first knock after its peer was taken out goes for nothing, the second makes the gateway look, the third
connects. These come faster than a client's own, which are 5 s apart, and a look follows another after 2 s."""


class DriftContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, backend)
            yield site
            site.registry.close()

    def test_a_peer_taken_out_by_hand_comes_back_with_its_retries(self, site: Site) -> None:
        bystander, client = site.client(), site.client()
        with site.up() as gateway:
            for one in (bystander, client):
                assert seamless(one.first_ping(INSIDE[0]))
            with steady(bystander):
                site.server.remove_peer(client.public_key)
                for _attempt in range(RETRIES):
                    client.forget()
                    if client.first_ping(INSIDE[0], timeout=1.0) is not None:
                        break
                else:
                    raise AssertionError(f"not back after {RETRIES} knocks: {gateway.status()}")
            assert client.public_key in site.server.peers()
            assert gateway.status()["faults"] == {}

    def test_an_interface_whose_socket_stayed_in_another_namespace_is_told_of(self, site: Site) -> None:
        name, inner = site.server.name, site.lab.namespace("inner")
        site.gateway.ip(f"link set {name} netns {inner.name}")
        inner.ip(f"address add 10.8.0.1/16 dev {name}", f"link set {name} up")

        def failing(gateway: Gateway) -> dict[str, str]:
            found: dict[str, str] = gateway.status().get("unhealthy", {})
            return found

        with Gateway(inner, name, store=site.path) as gateway:
            wait_for(lambda: "port" in failing(gateway))
            assert f"no UDP socket of this network namespace has port {PORT}" in failing(gateway)["port"]
            with pytest.raises(CommandFailed, match="unhealthy: port: no UDP socket of this network namespace"):
                inner.run(*WGJIT, "health", name)
            with pytest.raises(CommandFailed, match=r"port .* no UDP socket of this network namespace"):
                inner.run(*WGJIT, "doctor", name)
            with inner.socket() as other:  # as if the socket were here
                other.bind(("0.0.0.0", PORT))
                wait_for(lambda: "port" not in failing(gateway))
            wait_for(lambda: "port" in failing(gateway))

    def test_a_namespace_behind_the_gateway_is_reached_over_a_veth(self, site: Site) -> None:
        client, inner = site.client(), site.lab.namespace("inner")
        site.lab.link(site.gateway, inner, ["10.8.200.1/30"], ["10.8.200.2/30"])  # a part of what the client routes
        inner.ip("route add 10.8.0.0/16 via 10.8.200.1")
        site.gateway.sysctl("net.ipv4.ip_forward", 1)
        with site.up() as gateway:
            assert seamless(client.first_ping("10.8.200.2"))
            assert gateway.status().get("unhealthy") is None
