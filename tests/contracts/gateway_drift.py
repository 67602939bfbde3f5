"""The device changes under a running gateway: a peer is removed by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import INSIDE, Site, seamless
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
