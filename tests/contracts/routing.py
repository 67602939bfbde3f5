"""Routes of residents with real routing daemons: traffic from inside finds the gateway that serves its peer.

How long it takes is measured by `./dev bench routes`: here a busy machine only has to come to the same end.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.roamer import Roamer, send
from lab.fleet.engine import Engine
from lab.fleet.site import TUNNEL, Fleet, Traveller
from lab.netns import Lab
from lab.recipes import configuration
from lab.routing.site import Inside, routes
from lab.wireguard import Backend
from tests.contracts.floating import holder
from tests.contracts.gateway_site import LONG, seamless, wait_for
from wgjit.core.residents.routes import WORST

ROUTES = {"mode": "residents", "metric": "claim"}


@contextmanager
def network(engine: Engine, backend: Backend, daemon: str) -> Iterator[Inside]:
    """A network behind two gateways that run, for all tests of a module. `daemon`: bird or frr."""
    with Lab() as lab, Fleet(lab, engine, backend) as fleet, Inside(fleet, daemon, patient=True) as inside:
        fleet.up(routes=ROUTES)
        yield inside


class RoutingContract:
    """Bound with a `backend`, a `shared_engine`, and `inside` in the module."""

    def test_the_way_back_follows_a_client(self, inside: Inside) -> None:
        """Each first ping is answered, and then traffic from inside finds the client."""
        fleet = inside.fleet
        client = fleet.client()
        metrics = []
        for to, other in (fleet.members, fleet.members[::-1], fleet.members):
            client.move(to)
            assert seamless(client.first_ping(to.inside)), "the gateway's own reply needs no route of its own"
            inside.until_it_leads_to(client.host, to)
            inside.until_reached(client)
            metrics.append(routes(to)[client.host])
            wait_for(lambda other=other: client.host not in routes(other))  # type: ignore[misc]
            assert other.let_go(client.public_key, LONG) is not None
            assert seamless(client.ping("10.8.254.2")), "and back from inside"
        assert metrics == sorted(metrics, reverse=True)
        assert WORST - metrics[-1] == pytest.approx(time.time(), abs=3600)
        for member in fleet.members:
            assert member.status()["routes"]["failing"] == 0
            told = member.namespace.run(sys.executable, "-m", "wgjit", "doctor", member.server.name)
            assert re.search(r"^routes: \d+ of \d+ are in the kernel, 0 under way$", told, re.MULTILINE)

    def test_an_initiation_that_no_data_follows_has_no_route(self, inside: Inside) -> None:
        (a, b), machine = inside.fleet.members, inside.fleet.machine()
        roamer = Roamer(inside.fleet, machine).register()
        host = str(roamer.address)
        assert seamless(roamer.connect(a))
        inside.until_it_leads_to(host, a)
        with b.running.feed() as feed:
            send(machine, b, roamer.initiation())
            assert feed.next(public_key=str(roamer.public_key))["decision"] == "installed"
        assert b.let_go(roamer.public_key, LONG) is not None
        assert host not in routes(b)
        assert inside.leads_to(host) is a

    def test_clients_reach_clients_at_other_gateways(self, inside: Inside) -> None:
        """By the rules of docs/ROUTING.md: what is for no client of this gateway goes to the router."""
        one, other = (inside.fleet.client(member) for member in inside.fleet.members)
        for client, member in ((one, inside.fleet.members[0]), (other, inside.fleet.members[1])):
            assert seamless(client.first_ping(member.inside))
            inside.until_it_leads_to(client.host, member)
        for member in inside.fleet.members:
            text = configuration("ROUTING.md", "ip(8) on each gateway", {"wg0": member.server.name})
            member.namespace.ip(*(line.removeprefix("ip ") for line in text.splitlines()))
        assert seamless(one.ping(other.host))
        assert seamless(other.ping(one.host))
        one.move(inside.fleet.members[1])
        assert seamless(one.first_ping(inside.fleet.members[1].inside))
        inside.until_it_leads_to(one.host, inside.fleet.members[1])
        assert seamless(one.ping(other.host)), "both are at the same one now"

    def test_routes_outlive_a_killed_daemon_and_are_put_right_by_the_next(self, inside: Inside) -> None:
        a, b = inside.fleet.members
        stays, moves = inside.fleet.client(a), inside.fleet.client(a)
        for client in (stays, moves):
            assert seamless(client.first_ping(a.inside))
            inside.until_it_leads_to(client.host, a)
            wait_for(lambda client=client: holder(inside.fleet, client) == "a")  # type: ignore[misc]
        foreign = "192.0.2.77"
        a.namespace.ip(f"route add {foreign}/32 dev {a.server.name} proto 99")
        before = routes(a)
        a.kill()
        assert routes(a) == before
        a.namespace.ip(f"route add 10.8.253.1/32 dev {a.server.name} proto 87 metric 7")  # of a peer that was removed
        time.sleep(1.0)  # metrics tell takeovers apart by seconds
        moves.move(b)
        assert seamless(moves.first_ping(b.inside))
        inside.until_it_leads_to(moves.host, b)  # the newer one wins, though nobody has withdrawn the older
        inside.until_reached(moves)
        news = a.namespace.popen("ip", "-4", "monitor", "route", stdout=(inside.fleet.lab.folder / "news").open("w"))
        a.up(routes=ROUTES)
        wait_for(lambda: not {moves.host, "10.8.253.1"} & set(routes(a)))
        assert a.let_go(moves.public_key, LONG) is not None
        assert routes(a)[stays.host] == before[stays.host]
        inside.until_reached(stays)
        news.terminate()
        news.wait()
        assert stays.host not in (inside.fleet.lab.folder / "news").read_text(), "it was never away"
        assert foreign in a.namespace.run("ip", "route", "show", "proto", "99")
        a.namespace.ip(f"route del {foreign}/32 dev {a.server.name} proto 99")

    def test_flushed_routes_are_put_back(self, inside: Inside) -> None:
        a, _ = inside.fleet.members
        client = inside.fleet.client(a)
        assert seamless(client.first_ping(a.inside))
        inside.until_it_leads_to(client.host, a)
        had, back = routes(a), a.status()["routes"]["put_back"]
        a.namespace.run("ip", "route", "flush", "proto", "87")
        wait_for(lambda: routes(a) == had)
        inside.until_reached(client)
        assert a.status()["routes"]["put_back"] > back
        assert "fault" in a.log()

    def test_a_prefix_that_nothing_covers(self, inside: Inside) -> None:
        """The gateway's first reply comes before the route, so only later ones have to find the way."""
        fleet, (a, _) = inside.fleet, inside.fleet.members
        client = Traveller(
            fleet.machine(), fleet.key.public(), a.endpoint, ["10.77.0.9/32"], [str(TUNNEL)], backend=fleet.backend
        )
        fleet.registry.add([client.registration])
        fleet.spread(client.registration)
        client.first_ping(a.inside)
        wait_for(lambda: client.host in routes(a))
        assert seamless(client.ping(a.inside))
        assert seamless(a.namespace.ping(client.host))

    def test_a_revoked_peer_loses_its_route(self, inside: Inside) -> None:
        a, _ = inside.fleet.members
        client = inside.fleet.client(a)
        assert seamless(client.first_ping(a.inside))
        inside.until_it_leads_to(client.host, a)
        inside.fleet.registry.remove(client.public_key)
        inside.until_it_leads_to(client.host, None)

    def test_a_gateway_that_dies_loses_its_routes_by_bfd(self, inside: Inside) -> None:
        """The last test: nobody mends it."""
        a, b = inside.fleet.members
        client, other = inside.fleet.client(a), inside.fleet.client(b)
        for one, member in ((client, a), (other, b)):
            assert seamless(one.first_ping(member.inside))
            inside.until_it_leads_to(one.host, member)
        a.kill()
        inside.die(a)
        inside.until_it_leads_to(client.host, None)
        client.move(b)
        assert seamless(client.first_ping(b.inside))
        inside.until_it_leads_to(client.host, b)
        inside.until_reached(client)
        assert inside.leads_to(other.host) is b
