"""Floating peers on a healthy engine: a client is served by the gateway that it reaches, and by no other.

Two gateways run for all tests of a run, so each test brings clients of its own. What is about time is measured by
`./dev bench moves`: here a busy machine only has to come to the same end.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from bench.roamer import Roamer, send
from lab.fleet.member import INSIDE
from lab.fleet.site import Fleet, Traveller
from lab.fleet.traffic import Traffic
from tests.contracts.gateway_site import LONG, seamless, wait_for
from wgjit.model import NEVER

PULL = 16.0
"""Seconds after which a gateway that still had the peer would have begun a handshake (KEEPALIVE_TIMEOUT and
REKEY_TIMEOUT, 15 s)."""


class FloatingContract:
    """Bound by a module's `fleet`, two gateways that run."""

    def test_a_client_moves_and_the_first_gateway_lets_go(self, fleet: Fleet) -> None:
        a, b = fleet.members
        client = fleet.client(a)
        assert seamless(client.first_ping(a.inside))
        wait_for(lambda: b.holder(client.public_key) == "a")
        moved = a.count("departures", "moved")
        with b.running.feed() as feed:
            client.move(b)
            assert seamless(client.first_ping(b.inside))
            record = feed.next(public_key=str(client.public_key))
            assert (record["decision"], record["held_by"]) == ("installed", "a")
            assert "ask" not in record["stages"], "the lookup left the machine"
        assert a.let_go(client.public_key, LONG) is not None
        assert client.public_key in b.residents()
        assert seamless(client.ping(b.inside))
        wait_for(lambda: holder(fleet, client) == "b")
        wait_for(lambda: a.count("departures", "moved") > moved)
        holding = fleet.holding(client)
        assert holding is not None
        assert (holding.before, holding.until) == ("a", None)

    def test_a_pinned_peer_is_everywhere_until_somebody_holds_it_and_there_from_then_on(self, fleet: Fleet) -> None:
        a, b = fleet.members
        client = fleet.client(a)
        key = client.public_key
        fleet.registry.replace(replace(client.registration, idle_timeout=NEVER))
        wait_for(lambda: key in a.residents() and key in b.residents())
        assert holder(fleet, client) is None, "to be installed is not to be held"
        assert seamless(client.first_ping(a.inside))
        wait_for(lambda: holder(fleet, client) == "a")
        assert b.let_go(key, LONG) is not None
        client.move(b)
        assert seamless(client.first_ping(b.inside))
        wait_for(lambda: holder(fleet, client) == "b")
        assert a.let_go(key, LONG) is not None
        fleet.registry.remove(key)
        assert b.let_go(key, LONG) is not None

    def test_a_moved_client_stays_moved(self, fleet: Fleet) -> None:
        """Its first gateway used to begin a handshake of its own, which pulled it back.

        The client of `told` has resolved a name anew. For `quiet` and `busy` only the route has moved: they knock when
        nothing has come back for 15 s, and that is also what a gateway waits for that goes on sending to them.
        """
        a, b = fleet.members
        fleet.serve_by(a)
        machine = fleet.machine()
        told, quiet, busy = (fleet.client(at, machine=machine) for at in (a, None, None))
        all_three = (told, quiet, busy)
        held = a.status()["calls_held"]
        try:
            for client in all_three:
                assert seamless(client.first_ping(a.inside))
                wait_for(lambda client=client: holder(fleet, client) == "a")  # type: ignore[misc]
            with ExitStack() as stack:
                stack.enter_context(Traffic(machine, [(client.host, INSIDE) for client in all_three]))
                stack.enter_context(Traffic(a.namespace, [(a.inside, client.host) for client in (told, busy)]))
                told.move(b)
                fleet.serve_by(b)
                for client in all_three:
                    wait_for(lambda client=client: holder(fleet, client) == "b")  # type: ignore[misc]
                    assert a.let_go(client.public_key, LONG) is not None
                wait_for(lambda: a.status()["calls_held"] >= held + 2)
                time.sleep(PULL)  # what is tested here is that nothing comes about in this time
                for client in all_three:
                    assert seamless(client.ping(b.inside))
                    assert client.public_key not in a.residents()
                assert told.is_at(b)
        finally:
            fleet.serve_by(a)

    def test_the_same_client_at_both_gateways_by_turns(self, fleet: Fleet) -> None:
        client = fleet.client()
        for turn in range(6):
            to = fleet.members[turn % 2]
            client.move(to)
            assert seamless(client.first_ping(to.inside))
            time.sleep(1.0)  # it is what a client does that flaps, not a time that is waited for
        last, first = fleet.members[1], fleet.members[0]
        assert first.let_go(client.public_key, LONG) is not None
        wait_for(lambda: holder(fleet, client) == last.name)
        assert seamless(client.ping(last.inside))

    def test_old_initiations_at_the_other_gateway_move_nobody(self, fleet: Fleet) -> None:
        """What an eavesdropper at the first gateway has recorded, sent to the second."""
        (a, b), machine = fleet.members, fleet.machine()
        roamer = Roamer(fleet, machine).register()
        began = time.time()
        recorded = [roamer.initiation(began - 600 + number) for number in range(100)]
        assert seamless(roamer.connect(a))
        wait_for(lambda: holder(fleet, roamer) == "a")
        wait_for(lambda: b.claim(roamer.public_key) is not None)
        with b.running.feed() as feed:
            send(machine, b, *recorded)
            for _ in range(20):  # the limit for one source may let the rest pass unseen
                assert feed.next(public_key=str(roamer.public_key))["refusal"] == "stale"
        assert roamer.public_key not in b.residents()
        assert roamer.public_key in a.residents()
        assert holder(fleet, roamer) == "a"

    def test_an_initiation_that_no_data_follows_moves_nobody(self, fleet: Fleet) -> None:
        """The newest one, which did not reach the first gateway: no timestamp tells it from the client's own."""
        (a, b), machine = fleet.members, fleet.machine()
        roamer = Roamer(fleet, machine).register()
        assert seamless(roamer.connect(a))
        wait_for(lambda: holder(fleet, roamer) == "a")
        with b.running.feed() as feed:
            send(machine, b, roamer.initiation())
            assert feed.next(public_key=str(roamer.public_key))["decision"] == "installed"
        assert roamer.public_key in b.residents()
        assert b.let_go(roamer.public_key, LONG) is not None, "nothing confirmed it"
        assert b.count("departures", "unconfirmed") > 0
        assert roamer.public_key in a.residents()
        assert holder(fleet, roamer) == "a"


def holder(fleet: Fleet, client: Traveller | Roamer) -> str | None:
    """The name of the gateway that holds a client now, by the registry of record."""
    holding = fleet.holding(client)
    return None if holding is None or holding.until is not None else holding.gateway
