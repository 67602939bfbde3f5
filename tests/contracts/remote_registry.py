"""A gateway whose registry is a remote service: the example server, over TLS, with real clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import WGJIT, Gateway
from lab.hasty import HASTY
from lab.netns import Lab
from lab.registry_service import RegistryService
from lab.wireguard import Backend, Client
from tests.contracts.gateway_site import INSIDE, Site, seamless, wait_for
from tests.forge import forge_initiation
from wgjit.model import Tai64n

PORT = 8443


class RemoteRegistryContract:
    """Subclass with a `backend`."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    @pytest.fixture
    def service(self, site: Site) -> Iterator[RegistryService]:
        with RegistryService(site.lab.folder, PORT, site.gateway.popen) as service:
            wait_for(lambda: site.gateway.call(service.answers))
            yield service

    def up(self, site: Site, service: RegistryService, *, hasty: bool = False) -> Gateway:
        path: Path = site.lab.folder / "remote.toml"
        # A busy machine's service may be slow to answer: how soon it does is not what is told here.
        path.write_text(f"[gateway]\nhold_deadline = 4\n{service.settings}timeout = 3.9\ntime_to_live = 2\n")
        program = HASTY if hasty else WGJIT
        gateway = Gateway(site.gateway, site.server.name, "--config", path, store=None, program=program)
        wait_for(lambda: gateway.status()["registry"]["following"] == "yes")
        return gateway

    def client(self, site: Site, service: RegistryService) -> Client:
        client = site.client(registered=False)
        service.put(client.registration)
        return client

    def test_it_is_asked_for_proven_keys_alone_and_its_word_counts_at_once(
        self, site: Site, service: RegistryService
    ) -> None:
        client, stranger = self.client(site, service), site.client(registered=False)
        with self.up(site, service) as gateway, gateway.feed() as feed:
            assert seamless(client.first_ping(INSIDE[0]))
            assert client.ping(INSIDE[0])
            stamp = Tai64n.from_unix(time.time())
            claimed = stranger.public_key
            site.send([forge_initiation(site.server.public_key, claimed, stamp) for _ in range(20)])
            for _ in range(20):
                feed.next(refusal="forged")
            assert set(service.asked) == {str(client.public_key)}  # now and then again, as its answer grows old
            assert stranger.first_ping(INSIDE[0], 1.0) is None
            assert feed.next(public_key=str(stranger.public_key), refusal="unknown")
            wait_for(lambda: str(stranger.public_key) in service.asked)
            assert list(dict.fromkeys(service.asked)) == [str(client.public_key), str(stranger.public_key)]
            service.remove(client.registration)
            wait_for(lambda: site.server.peers() == {})
            assert client.ping(INSIDE[0], 0.5) is None

    def test_nobody_who_is_in_notices_that_it_is_down(self, site: Site, service: RegistryService) -> None:
        client, known, new = (self.client(site, service) for _ in range(3))
        with self.up(site, service, hasty=True) as gateway, gateway.feed() as feed:
            assert seamless(known.first_ping(INSIDE[0]))
            assert seamless(client.first_ping(INSIDE[0]))

            def evicted() -> bool:
                assert client.ping(INSIDE[0])
                return list(site.server.peers()) == [client.public_key]

            wait_for(evicted)
            service.down()
            known.forget()
            assert seamless(known.first_ping(INSIDE[0])), "a stale answer serves"
            assert new.first_ping(INSIDE[0], 1.0) is None
            assert feed.next(public_key=str(new.public_key), refusal="store_failed")
            assert client.ping(INSIDE[0])
            service.up()

            def new_is_in() -> bool:
                assert client.ping(INSIDE[0])
                return new.ping(INSIDE[0], 0.5) is not None

            wait_for(new_is_in)  # its own retry finds the service again
            assert gateway.stop() == 0
