"""Clients that the network leads to another gateway, which calls them: nobody waits for the client's own knock.

Real clients with traffic, real gateways, one service address. What is about time is measured by `./dev bench failover`:
here a busy machine only has to come to the same end, by a call and not by a knock.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.fleet.engine import Engine
from lab.fleet.member import INSIDE, PORT, SERVICE, Member
from lab.fleet.site import Fleet, Traveller
from lab.fleet.traffic import Traffic
from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.floating import holder
from tests.contracts.gateway_site import LONG, wait_for
from wgjit.core.takeover.strays import GIVE_UP
from wgjit.wire.messages import INITIATION, LENGTH

HEADERS = 28
"""Bytes of IPv4 and UDP before a message."""

SHARED = {"addresses": [SERVICE]}


class TakeoverContract:
    """Bound where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def pair(self, lab: Lab, engine: Engine, backend: Backend) -> Iterator[Fleet]:
        """Two gateways that are not started yet."""
        with Fleet(lab, engine, backend) as fleet:
            yield fleet

    def test_a_gateway_dies(self, pair: Fleet) -> None:
        """Its daemon, its WireGuard and its link at once. Routing moves the address, and nobody knocks."""
        start(pair)
        a, b = pair.members
        machine = pair.machine()
        clients = [pair.client(machine=machine) for _ in range(3)]
        with Traffic(machine, [(client.host, INSIDE) for client in clients], every=0.05):
            connect(pair, clients)
            with b.running.feed() as feed:
                a.die()
                pair.serve_by(b)
                for client in clients:
                    assert reaches(client)
                records = [feed.next() for _ in clients]
            for record in records:
                assert (record["decision"], record["delivery"], record["held_by"]) == ("called", "flip", "a")
                assert record["destination"] == f"{SERVICE}:{PORT}"
            assert {record["public_key"] for record in records} == {str(client.public_key) for client in clients}
            for client in clients:
                wait_for(lambda client=client: holder(pair, client) == "b")  # type: ignore[misc]
        wait_for(lambda: takeovers(b) == {"called": 3, "completed": 3})
        assert b.status()["decisions"] == {"called": 3}, "nobody has knocked"
        assert b.count("said", "called") == 3
        holding = pair.holding(clients[0])
        assert holding is not None
        assert (holding.takeovers, holding.before) == (1, "a")
        keepalives = {peer.keepalive for peer in b.server.peers().values()}
        assert keepalives == {0}, "what made WireGuard call is taken back"
        assert b.status()["faults"] == {}

    def test_only_the_route_moves_there_and_back(self, pair: Fleet) -> None:
        """Both gateways live: the one of before lets go, and nothing that it has noted keeps its own call back."""
        start(pair)
        a, b = pair.members
        client = pair.client()
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            for number, (there, here) in enumerate([(b, a), (a, b), (b, a)], start=1):
                pair.serve_by(there)
                assert reaches(client)
                wait_for(lambda there=there: holder(pair, client) == there.name)  # type: ignore[misc]
                assert here.let_go(client.public_key, LONG) is not None
                holding = pair.holding(client)
                assert holding is not None
                assert holding.takeovers == number
        assert takeovers(a) == {"called": 1, "completed": 1}
        assert takeovers(b) == {"called": 2, "completed": 2}
        assert (a.count("departures", "moved"), b.count("departures", "moved")) == (2, 1)

    def test_a_knock_after_a_call_counts_more(self, pair: Fleet) -> None:
        start(pair)
        a, b = pair.members
        client = pair.client()
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            pair.serve_by(b)
            wait_for(lambda: holder(pair, client) == "b")
        client.move(a)
        assert client.first_ping(a.inside, LONG) is not None
        wait_for(lambda: holder(pair, client) == "a")
        assert b.let_go(client.public_key, LONG) is not None
        holding = pair.holding(client)
        assert holding is not None
        assert (holding.takeovers, holding.before) == (0, "b")

    def test_a_client_that_is_gone_is_called_once(self, pair: Fleet) -> None:
        """Somebody sends data in its name. He gets no more bytes than he has sent, and the holder keeps the peer."""
        start(pair)
        a, b = pair.members
        client = pair.client()
        connect(pair, [client])
        port = client.port
        client.close()
        with client.namespace.socket() as udp:
            udp.bind(("0.0.0.0", port))
            pair.serve_by(b)
            sent = 0
            while not called(b):
                sent += HEADERS + udp.sendto(b"\4\0\0\0" + bytes(28), (SERVICE, PORT))
                time.sleep(0.02)
            assert client.public_key in b.residents()
            began = time.monotonic()
            wait_for(lambda: takeovers(b).get("unanswered") == 1)
            assert b.let_go(client.public_key, LONG) is not None
            # WireGuard repeats an initiation after five seconds. What is tested here is that nothing comes then.
            time.sleep(max(0.0, began + GIVE_UP + 2.0 - time.monotonic()))
            udp.setblocking(False)
            got = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(udp.recv(2048))
        assert [len(message) for message in got] == [LENGTH[INITIATION]]
        assert sum(HEADERS + len(message) for message in got) <= sent
        assert b.count("departures", "unanswered") == 1
        assert holder(pair, client) == "a"
        assert client.public_key in a.residents()

    def test_data_in_the_name_of_a_client_does_not_disturb_it(self, pair: Fleet) -> None:
        """The client is at its gateway all the time. It answers the call of the other one to where the route leads: not
        there. Until data comes in the new session, it goes on in the old one."""
        start(pair)
        a, b = pair.members
        client = pair.client()
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            with spoofer(pair, client) as say:
                while not called(b):
                    say(b)
                    time.sleep(0.02)
            while takeovers(b).get("unanswered") is None:
                assert client.ping(a.inside, LONG) is not None
            assert b.let_go(client.public_key, LONG) is not None
            assert client.ping(a.inside, LONG) is not None
        assert takeovers(b) == {"called": 1, "unanswered": 1}
        assert takeovers(a) == {}
        assert holder(pair, client) == "a"
        assert sum(a.status()["decisions"].values()) == 1, "the client has knocked once, at its first ping"

    def test_what_does_not_come_to_a_shared_address_calls_nobody(self, pair: Fleet) -> None:
        start(pair)
        _, b = pair.members
        client = pair.client()
        connect(pair, [client])
        with spoofer(pair, client) as say:
            for _ in range(50):
                say(b, b.address)
        time.sleep(1.2)  # a heartbeat, which reads the counter
        assert b.status()["takeover"]["seen"] == 0
        assert takeovers(b) == {}

    def test_a_flood_from_unknown_endpoints_is_not_noticed(self, pair: Fleet) -> None:
        """Honest clients are taken over in it."""
        start(pair)
        _, b = pair.members
        client, flooder = pair.client(), pair.machine("198.18.0.0/16")
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            sockets = []
            for number in range(64):
                udp = flooder.socket()
                udp.bind((f"198.18.{number}.1", 4000))
                sockets.append(udp)
            end = time.monotonic() + 2.0
            pair.serve_by(b)
            sent = 0
            while time.monotonic() < end or holder(pair, client) != "b":
                for udp in sockets:
                    for _ in range(20):
                        sent += udp.sendto(b"\4\0\0\0" + bytes(60), (SERVICE, PORT)) > 0
                assert time.monotonic() < end + LONG
            for udp in sockets:
                udp.close()
        assert sent > 1000
        found, seen = takeovers(b), b.status()["takeover"]["seen"]
        # All that was seen is the client's. Its answer may be lost in the flood; then it is called again.
        assert found == {"called": seen, "completed": 1} | ({"unanswered": seen - 1} if seen > 1 else {}), seen
        assert seen <= 3

    def test_the_watch_is_filled_again_after_the_firewall_was_flushed(self, pair: Fleet) -> None:
        start(pair)
        _, b = pair.members
        client = pair.client()
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            b.namespace.run("nft", "flush", "ruleset")
            wait_for(lambda: known(b, client))
            pair.serve_by(b)
            wait_for(lambda: holder(pair, client) == "b")
        assert takeovers(b) == {"called": 1, "completed": 1}

    def test_a_gateway_that_starts_later_knows_the_clients_of_the_others(self, pair: Fleet) -> None:
        a, b = pair.members
        a.up(takeover=SHARED)
        client = pair.client()
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            assert client.ping(INSIDE, LONG) is not None
            wait_for(lambda: holder(pair, client) == "a")
            b.up(takeover=SHARED)
            wait_for(lambda: known(b, client))
            wait_for(lambda: ready(b))
            pair.serve_by(b)
            wait_for(lambda: holder(pair, client) == "b")
        assert takeovers(b) == {"called": 1, "completed": 1}

    def test_a_route_without_the_service_address_is_told(self, pair: Fleet) -> None:
        start(pair)
        _, b = pair.members
        client = pair.client()
        b.namespace.ip(f"route replace default via {b.router}")
        with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
            connect(pair, [client])
            pair.serve_by(b)
            wait_for(lambda: takeovers(b).get("wrong_source"))
            wait_for(lambda: holder(pair, client) == "b")
        assert takeovers(b) == {"wrong_source": 1}
        assert b.status()["decisions"]["installed"] == 1, "the client has knocked by itself"
        assert "let the route by which clients are reached name the service address" in b.log()


class ClocksContract:
    """A gateway whose clock is wrong calls nobody, says so, and lets everybody in."""

    @pytest.mark.parametrize("apart", [-5.0, 3600.0, -3600.0], ids=["5 s behind", "1 h ahead", "1 h behind"])
    def test_a_wrong_clock(self, lab: Lab, engine: Engine, backend: Backend, apart: float) -> None:
        with Fleet(lab, engine, backend) as pair:
            a, b = pair.members
            a.up(takeover=SHARED)
            b.up(takeover=SHARED, clock=apart)
            wait_for(lambda: "clock is" in str(b.status()["takeover"]["off"]))
            client = pair.client()
            with Traffic(client.namespace, [(client.host, INSIDE)], every=0.05):
                connect(pair, [client], clocks=False)
                a.die()
                pair.serve_by(b)
                wait_for(lambda: takeovers(b).get("clock"))
                wait_for(lambda: client.ping(INSIDE, 0.2) is not None)
                wait_for(lambda: holder(pair, client) == "b")
            assert takeovers(b) == {"clock": 1}
            assert b.status()["decisions"]["installed"] >= 1, "the client has knocked by itself"


# --- what the tests share -------------------------------------------------------------------------------------------


def start(pair: Fleet) -> None:
    """Start both gateways, and wait until they may take over."""
    pair.up(takeover=SHARED)
    for member in pair.members:
        wait_for(lambda member=member: ready(member))  # type: ignore[misc]


def ready(member: Member) -> bool:
    """Whether it takes clients over, and has heard which addresses the others share."""
    takeover = member.status()["takeover"]
    return takeover["off"] is None and takeover["shared_with"] != [] and not takeover["filling"]


def connect(pair: Fleet, clients: list[Traveller], *, clocks: bool = True) -> None:
    """Connect clients by the service address, and wait until all gateways know who holds them, and where."""
    for client in clients:
        assert client.ping(INSIDE, LONG) is not None
    for client in clients:
        wait_for(lambda client=client: holder(pair, client) is not None)  # type: ignore[misc]
        name = holder(pair, client)
        for member in pair.members:
            if member.name != name:
                wait_for(lambda member=member, client=client: known(member, client))  # type: ignore[misc]
                if clocks:
                    wait_for(lambda member=member: ready(member))  # type: ignore[misc]


def known(member: Member, client: Traveller) -> bool:
    """Whether a gateway watches for data of a client."""
    endpoint = f"{{ {client.machine_address} . {client.port} }}"
    table = f"wgjit-strays_{member.server.name}"
    try:
        member.namespace.run("nft", "get", "element", "inet", table, "known4", endpoint)
    except Exception:
        return False
    return True


def takeovers(member: Member) -> dict[str, Any]:
    """What became of strays, by the gateway's status."""
    return dict(member.status().get("takeovers") or {})


def called(member: Member) -> bool:
    return bool(takeovers(member).get("called"))


def reaches(client: Traveller) -> bool:
    """Whether a client's pings are answered again."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if client.ping(INSIDE, 0.2) is not None:
            return True
    return False


@contextlib.contextmanager
def spoofer(pair: Fleet, client: Traveller) -> Iterator[Any]:
    """Somebody on the internet who sends data in a client's name."""
    raw = pair.internet.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:

        def say(to: Member, address: str = SERVICE) -> None:
            """Send by the link to this gateway, whatever the route of the address is."""
            payload = b"\4\0\0\0" + bytes(124)
            udp = client.port.to_bytes(2, "big") + PORT.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")
            packet = (
                b"\x45\0\0\0\0\0\0\0\x40\x11\0\0"
                + socket.inet_aton(client.machine_address)
                + socket.inet_aton(address)
                + udp
                + b"\0\0"
                + payload
            )
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, to.number)
            raw.sendto(packet, (address, 0))

        for member in pair.members:
            pair.internet.ip(
                f"rule add fwmark {member.number} table {900 + member.number}",
                f"route replace default via {member.address} table {900 + member.number}",
            )
        yield say
