"""A gateway of a fleet drains, comes back, and says whether it is fit to serve."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from lab.fleet.engine import PRIMARY
from lab.fleet.member import INSIDE, Member
from lab.fleet.site import Fleet, Traveller
from lab.fleet.traffic import Traffic
from lab.gateway import WGJIT
from lab.netns import run
from tests.contracts.floating import holder
from tests.contracts.gateway_site import LONG, seamless, wait_for

LONGER = 2 * LONG


class LeavingContract:
    """Bound by a module's `fleet`, two gateways that run."""

    def test_a_drain_ends_no_session_and_ends_when_all_are_served_elsewhere(self, fleet: Fleet) -> None:
        """The clients talk all the time. Those of the service address are moved by its route, as by VRRP or anycast."""
        a, b = fleet.members
        empty(fleet)
        fleet.serve_by(a)
        machine = fleet.machine()
        told, *routed = (fleet.client(at, machine=machine) for at in (a, None, None))
        clients = [told, *routed]
        for client in clients:
            assert seamless(client.first_ping(a.inside))
        for client in clients:
            wait_for(lambda client=client: holder(fleet, client) == "a")  # type: ignore[misc]
        assert health(a) == (0, f"{a.server.name}: healthy\n")
        with ExitStack() as stack:
            stack.enter_context(Traffic(machine, [(client.host, INSIDE) for client in clients]))
            command = stack.enter_context(draining(a))
            wait_for(lambda: a.status()["draining"])
            assert line(fleet, a).split()[1] == "draining"
            code, said = health(a)
            assert (code, "draining: 3 clients are left" in said) == (1, True)
            for client in clients:
                assert seamless(client.ping(a.inside)), "no session is ended"

            # Nobody is locked out: who is served by no other gateway is served here.
            new = fleet.client(a)
            assert seamless(new.first_ping(a.inside))

            for client in (told, new):
                client.move(b)
                assert seamless(client.ping(b.inside)), "its own traffic may have knocked first"
            fleet.serve_by(b)
            for client in clients:
                wait_for(lambda client=client: holder(fleet, client) == "b", LONGER)  # type: ignore[misc]
            assert command.wait(LONGER) == 0
            assert command.stdout is not None
            counts = [json.loads(each)["left"] for each in command.stdout]
            assert counts[-1] == 0
            for client in (*clients, new):
                assert seamless(client.ping(b.inside))
                assert client.public_key not in a.residents()
            self.an_empty_gateway_sends_clients_away_but_locks_nobody_out(fleet, told)

    def an_empty_gateway_sends_clients_away_but_locks_nobody_out(self, fleet: Fleet, client: Traveller) -> None:
        a, b = fleet.members
        with a.running.feed() as feed:
            client.move(a)
            client.ping(a.inside, 0.5)
            assert feed.next(public_key=str(client.public_key))["refusal"] == "draining"
            assert holder(fleet, client) == "b", "as it was"
            client.ping(a.inside, LONG)
            assert feed.next(public_key=str(client.public_key), decision="installed"), "it reaches nobody else"
        wait_for(lambda: holder(fleet, client) == "a")
        assert verb(a, "undrain").startswith(f"{a.server.name}: serves")
        wait_for(lambda: line(fleet, a).split()[1] == "up")
        assert health(a)[0] == 0
        new = fleet.client(b)
        assert seamless(new.first_ping(b.inside))
        wait_for(lambda: a.holder(new.public_key) == "b")
        new.move(a)
        assert seamless(new.first_ping(a.inside)), "it takes clients over again"

    def test_sigterm_drains_first(self, fleet: Fleet) -> None:
        a, b = fleet.members
        empty(fleet)
        a.down()
        a.up(fleet={"drain_on_stop": 3600})
        wait_for(a.hears_the_engine)
        try:
            client, stays = fleet.client(a), fleet.client(a)
            for each in (client, stays):
                assert seamless(each.first_ping(a.inside))
            process = a.running.process
            a.running.send(signal.SIGTERM)
            wait_for(lambda: a.status()["draining"])
            assert line(fleet, a).split()[1] == "draining"
            assert process.poll() is None
            for each in (client, stays):
                assert seamless(each.ping(a.inside))
            for each in (client, stays):
                each.move(b)
                assert seamless(each.first_ping(b.inside))
            assert process.wait(LONG) == 0
            assert "drained" in a.log()
        finally:
            a.down()

    def test_a_second_signal_ends_at_once_and_sessions_stay(self, fleet: Fleet) -> None:
        a = fleet.members[0]
        a.down()
        a.up(fleet={"drain_on_stop": 3600})
        wait_for(a.hears_the_engine)
        try:
            client = fleet.client(a)
            assert seamless(client.first_ping(a.inside))
            a.running.send(signal.SIGTERM)
            wait_for(lambda: a.status()["draining"])
            a.running.send(signal.SIGTERM)
            assert a.running.process.wait(LONG) == 0
            assert seamless(client.ping(a.inside))
        finally:
            a.down()

    def test_a_gateway_that_does_not_reach_its_inside_is_unhealthy(self, fleet: Fleet) -> None:
        """The inside is the network in which the engine is, here. That the engine is away is no reason itself."""
        a = fleet.members[0]
        for target in (PRIMARY, urlsplit(fleet.engine.primary.network_url()).netloc.rpartition("@")[2]):
            a.down()
            a.up(health={"target": target, "interval": 0.2, "timeout": 0.5})
            try:
                wait_for(lambda: health(a)[0] == 0)
                a.link.cut()
                wait_for(lambda: health(a)[0] == 1)
                assert f"inside: {target}: " in health(a)[1]
                a.link.mend()
                wait_for(lambda: health(a)[0] == 0)
            finally:
                a.link.mend()
                a.down()

    def test_what_clients_need_is_tested(self, fleet: Fleet) -> None:
        a = fleet.members[0]
        name = a.server.name
        assert health(a) == (0, f"{name}: healthy\n")
        a.namespace.ip(f"link set {name} down")
        try:
            assert health(a) == (1, f"{name}: unhealthy: interface: is down; ip link set {name} up\n")
        finally:
            a.namespace.ip(f"link set {name} up")
        wait_for(lambda: health(a)[0] == 0)
        a.running.send(signal.SIGSTOP)
        try:
            code, said = health(a)
            assert (code, "no answer within" in said) == (1, True)
        finally:
            a.running.send(signal.SIGCONT)
        wait_for(lambda: health(a)[0] == 0)
        a.kill()
        assert health(a)[0] == 1


def empty(fleet: Fleet) -> None:
    """Remove all peers that earlier tests have left on the gateways: a drain would wait until their sessions end."""
    for member in fleet.members:
        for key in member.residents():
            fleet.registry.remove(key)
        wait_for(lambda member=member: not member.residents())  # type: ignore[misc]


def verb(member: Member, *words: str) -> str:
    return member.namespace.run(*WGJIT, words[0], member.server.name, *words[1:])


def health(member: Member) -> tuple[int, str]:
    """Exit status and line of `wgjit health`."""
    process = member.namespace.popen(*WGJIT, "health", member.server.name, stdout=subprocess.PIPE)
    said, _ = process.communicate(timeout=LONG)
    return process.returncode, said


@contextmanager
def draining(member: Member) -> Iterator[subprocess.Popen[str]]:
    """A `wgjit drain` that waits. At the end the gateway serves again."""
    try:
        with member.draining("--over", "10m", "--json", stdout=subprocess.PIPE) as command:
            yield command
    finally:
        if member.daemon is not None:
            verb(member, "undrain")


def line(fleet: Fleet, member: Member) -> str:
    """The gateway's line of `wgjit gateways`."""
    table = run(*WGJIT, "gateways", env={"WGJIT_STORE_URL": fleet.engine.serving.url(fleet.database)})
    (found,) = [each for each in table.splitlines() if each.startswith(f"{member.name} ")]
    return found
