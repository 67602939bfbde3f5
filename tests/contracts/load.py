"""The benchmarks' clients speak WireGuard: a connect that they count is also a connect for real WireGuard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from bench.load.identities import registration
from bench.load.site import Site
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend

SOME = 20
MANY = 200
STARTS = [number / 20 for number in range(SOME)]
"""Twenty a second: so few that nobody is under load."""


class LoadContract:
    """Subclass with a `backend`."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            yield Site(lab, self.backend)

    def completed(self, site: Site) -> int:
        return sum(peer.last_handshake > 0 for peer in site.server.peers().values())

    @pytest.mark.parametrize("version", [4, 6])
    def test_who_is_up_has_a_session_with_the_server(self, site: Site, version: int) -> None:
        identities = site.identities(SOME, version, preshared=True)
        site.install(identities)
        with site.load(identities, version) as load:
            load.prepare()
            result = load.run(STARTS)
        assert (result.up, result.lost, result.retries) == (SOME, 0, 0)
        assert result.verified
        assert self.completed(site) == SOME

    def test_who_has_another_preshared_key_is_lost(self, site: Site) -> None:
        identities = site.identities(4, preshared=True)
        strangers = site.identities(4, preshared=True)
        wrong = [
            dataclasses.replace(each, preshared_key=other.preshared_key)
            for each, other in zip(identities, strangers, strict=True)
        ]
        site.install(identities)
        with site.load(wrong[:2] + identities[2:]) as load:
            result = load.run([0.0, 0.1, 0.2, 0.3], patience=3.0)
        assert (result.up, result.lost) == (2, 2)
        assert result.refused >= 2, "the responses came, and did not open"
        assert self.completed(site) == 2

    def test_who_is_not_known_is_lost(self, site: Site) -> None:
        identities = site.identities(2)
        site.install(identities[:1])
        with site.load(identities) as load:
            result = load.run([0.0, 0.1], patience=2.0)
        assert (result.up, result.lost) == (1, 1)

    @pytest.mark.parametrize("delivery", ["auto", "flip"])
    def test_an_empty_gateway_takes_them_in(self, site: Site, delivery: str) -> None:
        identities = site.identities(SOME)
        path = site.lab.folder / "load.db"
        registry = LabRegistry(path)
        registry.add([registration(each) for each in identities])
        registry.close()
        with Gateway(site.gateway, site.server.name, store=path, delivery=delivery) as gateway:
            if delivery == "flip":
                site.gateway.lose_first_knocks(51820)
            with site.load(identities) as load:
                load.prepare(2)
                result = load.run(STARTS)
            status = gateway.status()
        assert (result.up, result.lost) == (SOME, 0)
        assert self.completed(site) == SOME
        assert status["decisions"]["installed"] == SOME
        if delivery == "flip":
            assert result.flips >= 1

    def test_a_storm_loses_nobody(self, site: Site) -> None:
        """All in the same moment: who meets WireGuard's cookies, or a full queue, comes back 5 s later."""
        identities = site.identities(MANY)
        path = site.lab.folder / "storm.db"
        registry = LabRegistry(path)
        registry.add([registration(each) for each in identities])
        registry.close()
        with Gateway(site.gateway, site.server.name, store=path, delivery="auto") as gateway:
            with site.load(identities) as load:
                load.prepare(2)
                result = load.run([0.0] * MANY, patience=45.0)
            status = gateway.status()
        assert (result.clients, result.up, result.lost) == (MANY, MANY, 0)
        assert self.completed(site) == MANY
        assert status["residents"] == MANY
        assert not status["faults"]
