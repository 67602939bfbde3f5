"""What only a kernel's routes can show: those of others, and news that is too much to read."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
from collections.abc import Iterator

import pytest

from lab.netns import CommandFailed, Lab, Namespace
from tests.contracts.routes import FOUR, NET, SIX, RoutesContract, put, route, take
from tests.inside import inside
from wgjit.drivers.base import Route
from wgjit.drivers.routes.kernel import KernelRoutes
from wgjit.errors import RouteError

TABLE, PROTOCOL = 1087, 87


class RealMachine:
    """A namespace with an interface, which need not be WireGuard's."""

    def __init__(self, lab: Lab, table: int = TABLE) -> None:
        self.namespace: Namespace = lab.namespace("gw")
        self.table = table
        self.name, self.other = lab.link(self.namespace, self.namespace, ["10.1.0.1/24"])
        self.index = self.namespace.call(_index, self.name)
        self.routes = self.open()

    def open(self, table: int | None = None) -> KernelRoutes:
        return self.namespace.call(KernelRoutes, self.index, table or self.table, PROTOCOL)

    def ip(self, command: str, version: int = 4) -> None:
        self.namespace.run("ip", f"-{version}", *command.split())

    def flush(self) -> None:
        for version in (4, 6):
            with contextlib.suppress(CommandFailed):  # a table without routes
                self.ip(f"route flush table {self.table}", version)

    def set_down(self) -> None:
        self.ip(f"link set {self.name} down")

    def set_up(self) -> None:
        self.ip(f"link set {self.name} up")

    def replace(self, route: Route) -> None:
        self.ip(f"route replace {_prefix(route)} dev {self.other} table {self.table} metric {route.metric}", _of(route))

    def give_way(self, route: Route) -> None:
        self.ip(f"route del {_prefix(route)} dev {self.other} table {self.table}", _of(route))

    def others(self) -> list[str]:
        """Routes in our table that are not ours."""
        lines: list[str] = []
        for version in (4, 6):
            with contextlib.suppress(CommandFailed):  # a table without routes
                lines += self.namespace.run("ip", f"-{version}", "route", "show", "table", str(self.table)).splitlines()
        return [" ".join(line.split()) for line in lines if f"proto {PROTOCOL}" not in line]


def _index(name: str) -> int:
    return socket.if_nametoindex(name)


def _of(route: Route) -> int:
    return 4 if len(route.address) == 4 else 6


def _prefix(route: Route) -> str:
    return f"{ipaddress.ip_address(route.address)}/{route.length}"


class KernelRoutesContract(RoutesContract):
    """Bound where the kernel is to be tested."""

    @pytest.fixture(params=[TABLE, 254, 99])
    def machine(self, request: pytest.FixtureRequest) -> Iterator[RealMachine]:
        with Lab() as lab, inside((machine := RealMachine(lab, request.param)).namespace):
            yield machine
            machine.routes.close()

    def test_routes_of_others_are_neither_seen_nor_touched(self, machine: RealMachine) -> None:
        before = machine.others()
        machine.ip(f"route add 10.8.1.6/32 dev {machine.name} table {machine.table} metric 1")  # another protocol
        machine.ip(f"route add 10.8.1.7/32 dev {machine.other} table {machine.table} proto {PROTOCOL}")
        machine.ip(f"route add 10.8.1.8/32 dev {machine.name} table 777 proto {PROTOCOL}")
        assert self.there(machine) == []
        six, seven, eight = (route(f"10.8.1.{number}/32") for number in (6, 7, 8))
        for one in (six, seven, eight):
            elsewhere = one._replace(metric=5)
            machine.routes.apply([*put(elsewhere), *take(elsewhere, one, one._replace(metric=0))])
        assert self.there(machine) == []
        assert len(machine.others()) == len(before) + 1
        assert "10.8.1.7" in machine.namespace.run("ip", "route", "show", "table", str(machine.table))
        assert "10.8.1.8" in machine.namespace.run("ip", "route", "show", "table", "777")

    def test_changes_of_other_routes_wake_nobody(self, machine: RealMachine) -> None:
        while select.select([machine.routes], [], [], 0)[0]:
            machine.routes.read()  # that the interface has come up
        for number in range(50):
            machine.ip(f"route add 10.7.0.{number}/32 dev {machine.other} table {machine.table}")
        machine.ip(f"route flush dev {machine.other} table {machine.table}")
        machine.routes.apply(put(FOUR))
        assert not select.select([machine.routes], [], [], 0)[0]
        machine.ip(f"route del 10.8.1.5/32 dev {machine.name} table {machine.table}")
        assert select.select([machine.routes], [], [], 60)[0]
        assert machine.routes.read().lost == [FOUR]

    def test_the_last_address_takes_routes_along(self, machine: RealMachine) -> None:
        """Linux tells nobody of the routes."""
        machine.routes.apply(put(FOUR, SIX))
        machine.ip(f"addr flush dev {machine.name}")
        self.news(machine, lambda news: news.unsure)
        assert FOUR not in self.there(machine)

    def test_more_news_than_fits_makes_unsure(self, machine: RealMachine) -> None:
        many = [route(f"10.8.{number >> 8}.{number & 255}/32") for number in range(2000)]
        machine.routes.apply(put(*many))
        assert isinstance(machine.routes, KernelRoutes)
        machine.routes._news.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        machine.flush()
        self.news(machine, lambda news: news.unsure)
        assert self.there(machine) == []

    def test_what_is_lost_after_an_overrun_is_not_missed(self, machine: RealMachine) -> None:
        """The kernel tells of lost news once, and no more until all is read."""
        many = [route(f"10.8.{number >> 8}.{number & 255}/32") for number in range(4000)]
        machine.routes.apply(put(*many))
        assert isinstance(machine.routes, KernelRoutes)
        machine.routes._news.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        other = machine.open()
        other.apply(take(*many[:2000]))  # of another process, as far as the news goes
        self.news(machine, lambda news: news.unsure)
        seen = set(self.there(machine))
        other.apply(take(*many[2000:]))
        news = self.news(machine, lambda news: news.unsure or len(news.lost) == 2000)
        assert news.unsure or seen == set(news.lost)
        other.close()

    def test_a_dump_goes_on_while_routes_change(self, machine: RealMachine) -> None:
        many = [route(f"10.8.{number >> 8}.{number & 255}/32") for number in range(1000)]
        machine.routes.apply(put(*many))
        seen: set[Route] = set()
        for part in machine.routes.dump():
            machine.routes.apply([*put(NET), *take(NET)])
            seen.update(part)
        assert seen - {NET} == set(many)

    def test_all_routes_stay_at_the_end(self, machine: RealMachine) -> None:
        machine.routes.apply(put(FOUR, SIX))
        machine.routes.close()
        machine.routes = machine.open()
        assert self.there(machine) == sorted([FOUR, SIX])

    def test_an_interface_that_is_gone(self, machine: RealMachine) -> None:
        machine.routes.apply(put(FOUR))
        machine.ip(f"link del {machine.name}")
        self.news(machine, lambda news: news.unsure)
        (error,) = machine.routes.apply(put(FOUR)).values()
        assert isinstance(error, RouteError)
        assert "the interface is gone" in str(error)
        assert machine.routes.apply(take(FOUR)) == {}
        assert self.there(machine) == []
