"""What routes promise, in memory and in a kernel. Bound where a `machine` fixture gives an interface."""

from __future__ import annotations

import ipaddress
import select
import time
from collections.abc import Callable
from typing import Protocol

from wgjit.drivers.base import Route, RouteChange, RouteNews, Routes
from wgjit.errors import RouteError

LONG = 60.0


class Machine(Protocol):
    """A machine with an interface, and other programs on it."""

    routes: Routes

    def flush(self) -> None: ...

    def set_down(self) -> None: ...

    def set_up(self) -> None: ...

    def replace(self, route: Route) -> None: ...

    def give_way(self, route: Route) -> None: ...


def route(prefix: str, metric: int = 1) -> Route:
    network = ipaddress.ip_network(prefix)
    return Route(network.network_address.packed, network.prefixlen, metric)


def put(*routes: Route) -> list[RouteChange]:
    return [RouteChange(one, put=True) for one in routes]


def take(*routes: Route) -> list[RouteChange]:
    return [RouteChange(one, put=False) for one in routes]


FOUR, NET = route("10.8.1.5/32"), route("10.9.0.0/24")
SIX = route("fd08::5/128")
GREAT = 2**32 - 2


class RoutesContract:
    """For each implementation of `drivers.base.Routes`."""

    def there(self, machine: Machine) -> list[Route]:
        return sorted(one for part in machine.routes.dump() for one in part)

    def news(self, machine: Machine, enough: Callable[[RouteNews], bool]) -> RouteNews:
        """What is read until it is enough."""
        lost: list[Route] = []
        unsure = False
        end = time.monotonic() + LONG
        while not enough(told := RouteNews(sorted(set(lost)), unsure)):
            assert time.monotonic() < end, told
            select.select([machine.routes], [], [], LONG)
            news = machine.routes.read()
            lost, unsure = lost + news.lost, unsure or news.unsure
        return told

    def test_routes_are_put_in_and_taken_away(self, machine: Machine) -> None:
        assert self.there(machine) == []
        assert machine.routes.apply(put(FOUR, SIX, NET)) == {}
        assert self.there(machine) == sorted([FOUR, SIX, NET])
        assert machine.routes.apply(take(SIX, NET)) == {}
        assert self.there(machine) == [FOUR]
        assert machine.routes.apply([]) == {}

    def test_twice_is_no_failure(self, machine: Machine) -> None:
        machine.routes.apply(put(FOUR, SIX))
        assert machine.routes.apply(put(FOUR, SIX)) == {}
        assert self.there(machine) == sorted([FOUR, SIX])
        machine.routes.apply(take(FOUR, SIX))
        assert machine.routes.apply(take(FOUR, SIX)) == {}
        assert self.there(machine) == []

    def test_a_metric_is_changed_without_a_gap(self, machine: Machine) -> None:
        for old in (FOUR, SIX):
            new = old._replace(metric=GREAT)
            machine.routes.apply(put(old))
            assert machine.routes.apply([*put(new), *take(old)]) == {}
            assert self.there(machine) == [new]
            machine.routes.apply(take(new))

    def test_metric_0_takes_away_whatever_the_metric_is(self, machine: Machine) -> None:
        for one in (FOUR, SIX):
            machine.routes.apply(put(one._replace(metric=77)))
            assert machine.routes.apply(take(one._replace(metric=0))) == {}
        assert self.there(machine) == []

    def test_many_in_one_call(self, machine: Machine) -> None:
        many = [route(f"10.8.{number >> 8}.{number & 255}/32", 1 + number) for number in range(1500)]
        many += [route(f"fd08::{number:x}/128") for number in range(500)]
        assert machine.routes.apply(put(*many)) == {}
        assert self.there(machine) == sorted(many)
        assert machine.routes.apply(take(*many[::2])) == {}
        assert self.there(machine) == sorted(many[1::2])

    def test_a_route_of_another_program_is_in_the_way_and_stays(self, machine: Machine) -> None:
        for taken, other in ((FOUR, NET), (SIX, route("fd09::/64"))):
            machine.replace(taken)
            failed = machine.routes.apply(put(taken, other))
            assert list(failed) == put(taken)
            (error,) = failed.values()
            assert isinstance(error, RouteError)
            assert "another program has a route for it with the same metric" in str(error)
            assert machine.routes.apply(take(taken)) == {}
            assert self.there(machine) == [other]
            machine.routes.apply(take(other))
            assert list(machine.routes.apply(put(taken))) == put(taken), "it was not taken away"
            machine.give_way(taken)
            assert machine.routes.apply(put(taken)) == {}
            machine.routes.apply(take(taken))

    def test_what_others_take_away_is_told_and_own_changes_are_not(self, machine: Machine) -> None:
        machine.routes.apply(put(FOUR, SIX, NET))
        machine.routes.apply(take(NET))
        machine.flush()
        assert self.news(machine, lambda news: len(news.lost) >= 2).lost == sorted([FOUR, SIX])

    def test_a_route_that_another_takes_the_place_of_is_told(self, machine: Machine) -> None:
        for one in (FOUR, SIX):
            machine.routes.apply(put(one))
            machine.replace(one)
            assert one in self.news(machine, lambda news: bool(news.lost)).lost
            assert self.there(machine) == []

    def test_an_interface_that_goes_down_and_comes_up_makes_unsure(self, machine: Machine) -> None:
        machine.routes.apply(put(FOUR))
        machine.set_down()
        self.news(machine, lambda news: news.unsure)
        assert self.there(machine) == []
        failed = machine.routes.apply(put(FOUR))
        assert "the interface is down" in str(failed[put(FOUR)[0]])
        machine.set_up()
        self.news(machine, lambda news: news.unsure)
        assert machine.routes.apply(put(FOUR)) == {}
        assert self.there(machine) == [FOUR]
