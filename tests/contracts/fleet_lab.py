"""The lab's fleet does what tests of fleets rely on. Here peers are installed by hand, and no gateway runs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from lab.fleet.engine import Engine
from lab.fleet.member import INSIDE, Member
from lab.fleet.site import Fleet, Traveller
from lab.netns import Lab, run
from lab.wireguard import Backend
from tests.contracts.gateway_site import wait_for


class FleetLabContract:
    """Subclass with a `backend`."""

    backend: Backend

    @pytest.fixture
    def fleet(self, lab: Lab, engine: Engine) -> Iterator[Fleet]:
        with Fleet(lab, engine, self.backend) as fleet:
            yield fleet

    def test_a_client_moves_and_each_gateway_is_told_apart(self, fleet: Fleet) -> None:
        a, b = fleet.members
        client = fleet.client(a)
        self._install(client, a, b)
        assert client.first_ping(a.inside) is not None
        assert client.ping(b.inside, timeout=0.2) is None
        client.move(b)
        assert client.first_ping(b.inside) is not None
        assert client.ping(INSIDE) is not None
        assert client.ping(a.inside, timeout=0.2) is None
        assert client.is_at(b)

    def test_the_service_address_moves_without_a_word(self, fleet: Fleet) -> None:
        a, b = fleet.members
        client = fleet.client()
        self._install(client, a, b)
        assert client.first_ping(a.inside) is not None
        fleet.serve_by(b)
        assert client.ping(INSIDE, timeout=0.2) is None, "the other gateway does not know this session"
        client.forget()
        assert client.first_ping(b.inside) is not None
        assert client.ping(a.inside, timeout=0.2) is None

    def test_the_engine_is_reached_over_a_link_that_can_be_cut(self, fleet: Fleet) -> None:
        a, b = fleet.members
        asked = "SELECT count(*) FROM wgjit.peers"
        url = f"{fleet.engine.url(fleet.database)}&connect_timeout=2"
        with a.namespace.call(psycopg.connect, url) as there, b.namespace.call(psycopg.connect, url) as beside:
            assert there.execute(asked).fetchone() == (0,)
            fleet.client()
            there.rollback()
            assert there.execute(asked).fetchone() == (1,)
            assert there.info.host == "10.99.0.1"
            a.link.cut()
            assert beside.execute(asked).fetchone() == (1,)
            with pytest.raises(psycopg.OperationalError, match="timeout"):
                a.namespace.call(psycopg.connect, url)
            a.link.mend()
            assert there.execute(asked).fetchone() == (1,)

    def test_the_standby_has_what_the_primary_has(self, fleet: Fleet) -> None:
        (a, _), standby = fleet.members, fleet.engine.standby
        assert standby is not None
        fleet.client()
        standby.catch_up()
        with a.namespace.call(psycopg.connect, standby.network_url(fleet.database, "gateways")) as there:
            assert there.execute("SELECT count(*) FROM wgjit.peers").fetchone() == (1,)

    def test_nothing_is_left(self, engine: Engine) -> None:
        with Lab() as lab:
            with Fleet(lab, engine, self.backend) as fleet:
                fleet.client()
                name = fleet.database
            with engine.primary.shell() as shell:
                assert shell.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None
        assert lab.prefix not in run("ip", "netns", "list")
        wait_for(lambda: lab.prefix not in engine.namespace.run("ip", "link", "show"))  # the kernel takes its time

    @staticmethod
    def _install(client: Traveller, *members: Member) -> None:
        for member in members:
            member.server.add_peer(client.public_key, map(str, client.registration.allowed_ips))
