"""A socket for each client, however many there are."""

from __future__ import annotations

import ipaddress

import pytest

from bench.load.client import Client
from bench.load.engine import Load
from bench.load.identities import fresh
from bench.load.sockets import close, open_sockets, source
from tests.unit.bench.answering import Server, serving
from wgjit.model import Endpoint

CROWD = 1100
"""More than select(2) takes."""


def test_a_crowd_is_waited_for_too() -> None:
    identities = fresh(CROWD, ipaddress.IPv4Network("10.0.0.0/8"))
    server = Server(identities)
    with serving(server) as endpoint:
        clients = [
            Client(number, each, server.key.public(), None, verify=False) for number, each in enumerate(identities)
        ]
        sockets = open_sockets(CROWD, endpoint)
        try:
            assert len({one.getsockname() for one in sockets}) == CROWD
            assert not any(one.getblocking() for one in sockets)
            load = Load(clients, sockets, endpoint, verify=False, strict=True)
            # 2 ms apart: so short a wait goes by select(2).
            result = load.run([number / 500 for number in range(CROWD)], patience=20.0)
        finally:
            close(sockets)
    assert (result.up, result.lost) == (CROWD, 0)


def test_clients_that_follow_each_other_may_share_a_socket() -> None:
    identities = fresh(6, ipaddress.IPv4Network("10.0.0.0/8"))
    server = Server(identities)
    with serving(server) as endpoint:
        clients = [
            Client(number, each, server.key.public(), None, verify=False) for number, each in enumerate(identities)
        ]
        sockets = open_sockets(2, endpoint)
        try:
            load = Load(clients, sockets * 3, endpoint, verify=False, strict=True)
            result = load.run([number * 0.2 for number in range(6)], patience=5.0)
        finally:
            close(sockets)
    assert (result.up, result.lost) == (6, 0)
    assert sum(connect.attempts for connect in load.connects) == 6


def test_what_comes_from_elsewhere_is_dropped() -> None:
    identities = fresh(1, ipaddress.IPv4Network("10.0.0.0/8"))
    server = Server(identities)
    with serving(server, "0.0.0.0") as endpoint:
        elsewhere = Endpoint(ipaddress.IPv4Address("127.0.0.2").packed, endpoint.port)
        for strict in (True, False):
            client = Client(0, identities[0], server.key.public(), None, verify=False)
            sockets = open_sockets(1, endpoint)
            try:
                load = Load([client], sockets, elsewhere, verify=False, strict=strict)
                assert load.run([0.0], patience=0.5).up == (0 if strict else 1)
            finally:
                close(sockets)


@pytest.mark.parametrize(("prefix", "count"), [("10.0.0.0/29", 6), ("2001:db8::/62", 4)])
def test_a_prefix_gives_each_its_own_address_as_long_as_it_lasts(prefix: str, count: int) -> None:
    network = ipaddress.ip_network(prefix)
    assert len({source(network, number) for number in range(count)}) == count
    with pytest.raises(ValueError, match="wider"):
        source(network, count)
