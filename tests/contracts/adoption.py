"""An interface with many peers is adopted by a gateway, and later released so that it needs no gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.gateway import WGJIT
from lab.netns import Lab
from lab.wireguard import Backend, peer_section
from tests.contracts.gateway_eviction import pinging
from tests.contracts.gateway_site import INSIDE, Site, seamless, wait_for
from wgjit.model import PrivateKey


class AdoptionContract:
    """Subclass with a `backend`, and how many peers there are and how many of them are in use."""

    backend: Backend
    crowd: int
    live: int

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    def test_nobody_in_use_notices_that_the_interface_is_adopted_and_released(self, site: Site) -> None:
        clients = [site.client(registered=False) for _ in range(self.live)]
        idle = [PrivateKey.generate().public() for _ in range(self.crowd - self.live)]
        sections = [peer_section(c.public_key, map(str, c.registration.allowed_ips)) for c in clients]
        sections += [peer_section(key, [f"10.8.{100 + n // 250}.{n % 250}/32"]) for n, key in enumerate(idle)]
        site.server.configure("\n".join(sections))
        for client in clients:
            assert seamless(client.first_ping(INSIDE[0]))
        with ExitStack() as stack:
            lost = [stack.enter_context(pinging(client, 1.0)) for client in clients]

            rehearsed = self.command(site, "adopt", "--dry-run")
            assert site.registry.count() == 0
            adopted = self.command(site, "adopt")
            assert adopted == rehearsed | {"dry_run": False}
            assert (adopted["registered"], adopted["refused"]) == (self.crowd, {})
            assert site.registry.count() == self.crowd

            with site.up_in_a_hurry(idle=15) as gateway:
                assert gateway.about["residents"] == self.crowd
                in_use = {client.public_key for client in clients}
                wait_for(lambda: gateway.status()["residents"] == self.live, 300.0)
                assert set(site.server.peers()) == in_use
                assert gateway.status()["departures"] == {"idle": self.crowd - self.live}

            released = self.command(site, "release")
            assert (released["installed"], released["present"]) == (self.crowd - self.live, self.live)
            assert set(site.server.peers()) == in_use | set(idle)
        assert not any(lost)

    def command(self, site: Site, verb: str, *options: str) -> dict[str, object]:
        """What `wgjit adopt` or `release` says."""
        words = [*WGJIT, verb, site.server.name, "--json", "--store", site.path, *options]
        return dict(json.loads(site.gateway.run(*words)))
