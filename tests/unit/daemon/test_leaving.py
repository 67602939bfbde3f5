"""What a gateway tests of itself, whether the inside is reached, and the drain before the end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address

import pytest

from tests.fakes.fleet import FakeFleet
from tests.fakes.store import FakeRegistry
from tests.unit.daemon.conftest import running, until
from tests.unit.daemon.test_loop import in_loop
from wgjit.config.addresses import Target
from wgjit.config.settings import Config, HealthSettings
from wgjit.control.status import GatewayStatus
from wgjit.daemon.faults import Faults
from wgjit.daemon.leaving import ending, health, inside
from wgjit.daemon.metrics import Metrics
from wgjit.errors import CaptureError, StoreError, StoreUnreachable
from wgjit.model import Delivery, OtherGateway
from wgjit.notify import Notifier

LOCAL = "127.0.0.1"

# --- the checks -------------------------------------------------------------------------------------------------------


def checks(
    store: FakeRegistry | None = None, faults: Faults | None = None, interface: str = "lo", **settings: object
) -> dict[str, str]:
    faults = faults or Faults(Metrics())
    return dict(health.failing(interface, store or FakeRegistry([]), faults, HealthSettings.model_validate(settings)))


def fleet(**values: object) -> FakeRegistry:
    store = FakeRegistry([])
    store.fleet = side = FakeFleet()
    for name, value in values.items():
        setattr(side, name, value)
    return store


def test_a_gateway_that_works_is_healthy() -> None:
    assert checks() == {}
    assert checks(fleet()) == {}


def test_an_interface_that_is_gone_or_fails_is_told() -> None:
    assert checks(interface="none") == {"interface": "none: No such device"}
    faults = Faults(Metrics())
    faults.occurred("device", StoreError("does not answer"))
    assert checks(faults=faults) == {"interface": "does not answer"}


@pytest.mark.parametrize("part", ["heartbeat", "capture"])
def test_a_capture_that_fails_is_told_until_it_has_not_failed_for_a_while(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(Metrics())
    faults.occurred(part, CaptureError("the queue is gone"))
    assert checks(faults=faults) == {"capture": "the queue is gone"}
    monkeypatch.setattr(health, "LATELY", -1.0)
    assert checks(faults=faults) == {}, "nobody would knock at an unhealthy gateway, so nothing would prove it healthy"


def test_a_mistake_of_ours_is_told_without_its_values() -> None:
    faults = Faults(Metrics())
    faults.occurred("core", ValueError("a secret value"))
    assert checks(faults=faults) == {"core": "a mistake of wgjit; see its log"}


def test_a_registry_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise StoreError("registry /x: is damaged")

    store = FakeRegistry([])
    monkeypatch.setattr(store, "last_change", broken)
    assert checks(store) == {"registry": "registry /x: is damaged"}


def test_the_loss_of_the_registry_of_record_makes_nobody_unhealthy_by_default() -> None:
    """All gateways would be unhealthy at once, although each can serve."""
    away = StoreUnreachable("registry: cannot connect")
    assert checks(fleet(late=86_400.0, troubled=away)) == {}
    assert "is 61 s behind" in checks(fleet(late=61.0), max_lag=60)["replica"]
    assert checks(fleet(late=59.0), max_lag=60) == {}


def test_a_replica_that_is_not_whole_counts_only_if_nobody_can_be_asked() -> None:
    assert checks(fleet(late=None)) == {}
    told = checks(fleet(late=None, troubled=StoreUnreachable("cannot connect")))
    assert told == {"replica": "is not whole, and the registry of record cannot be asked: cannot connect"}


@pytest.mark.parametrize(("offset", "way"), [(6.0, "6.0 s behind"), (-3600.0, "3600.0 s ahead of")])
def test_a_clock_that_is_off_is_told(offset: float, way: str) -> None:
    assert way in checks(fleet(offset=offset))["clock"]
    assert checks(fleet(offset=offset), max_clock_offset=0) == {}
    assert checks(fleet(offset=4.9)) == {}


def test_a_name_that_another_gateway_has_is_told() -> None:
    assert checks(fleet(taken=StoreError("another has it"))) == {"name": "another has it"}


# --- the inside -------------------------------------------------------------------------------------------------------


@in_loop
async def test_the_inside_is_reached_and_lost_and_reached_again() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), LOCAL, 0)
    port = server.sockets[0].getsockname()[1]
    settings = HealthSettings(interval=0.1, timeout=30.0, failures=3)
    probe = inside.Inside(Target(ip_address(LOCAL), port), settings)
    assert probe.trouble() == f"{LOCAL}:{port}: no answer yet", "a gateway that was just started draws no clients"
    task = asyncio.create_task(probe.run())
    await until(lambda: probe.trouble() is None)
    server.close()
    await server.wait_closed()
    await until(lambda: probe.trouble() is not None)
    assert probe.trouble() == f"{LOCAL}:{port}: Connection refused"
    again = await asyncio.start_server(lambda _, writer: writer.close(), LOCAL, port)
    await until(lambda: probe.trouble() is None)
    again.close()
    await stopped(task)


def test_some_failures_in_a_row_are_needed() -> None:
    probe = inside.Inside(Target(ip_address(LOCAL)), HealthSettings(failures=3))
    for failed, is_out in ((None, False), ("a", False), ("b", False), ("c", True), (None, False), ("d", False)):
        probe._note(failed)
        assert (probe.trouble() is not None) is is_out


@in_loop
async def test_an_inside_that_does_not_answer_is_told_at_once_at_the_start() -> None:
    with socket.socket() as silent:
        silent.bind((LOCAL, 0))
        silent.listen(0)
        queue = [socket.create_connection((LOCAL, silent.getsockname()[1])) for _ in range(1)]
        target = Target(ip_address(LOCAL), silent.getsockname()[1])
        probe = inside.Inside(target, HealthSettings(interval=0.1, timeout=0.05, failures=1000))
        task = asyncio.create_task(probe.run())
        await until(lambda: "no answer within 0.05 s" in (probe.trouble() or ""))
        await stopped(task)
        for each in queue:
            each.close()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.1", ("10.0.0.1", None)),
        ("10.0.0.1:443", ("10.0.0.1", 443)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
    ],
)
def test_a_target_is_an_address_with_or_without_a_port(text: str, target: tuple[str, int | None]) -> None:
    found = HealthSettings.model_validate({"target": text}).target
    assert found is not None
    assert (str(found.address), found.port) == target
    assert str(found) == text


@pytest.mark.parametrize("text", ["gw.example.org", "10.0.0.1:0", "10.0.0.1:65536", "[2001:db8::1]", "", "10.0.0.0/8"])
def test_what_is_no_target_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 10\.0\.0\.1 or \[2001:db8::1\]:443"):
        HealthSettings.model_validate({"target": text})


def test_what_is_for_a_fleet_is_refused_without_one() -> None:
    for section, name, value in (
        ("fleet", "drain_on_stop", 30),
        ("health", "max_lag", 30),
        ("takeover", "addresses", ["192.0.2.1"]),
    ):
        with pytest.raises(ValueError, match=rf"{section}\.{name}: is for gateways of a fleet"):
            Config.model_validate({section: {name: value}})


@pytest.mark.parametrize("address", ["0.0.0.0", "::1", "224.0.0.1", "fe80::1"])
def test_a_service_address_is_one_that_clients_reach(address: str) -> None:
    with pytest.raises(ValueError, match="no address to which clients connect"):
        Config.model_validate({"store": "postgresql://h/d", "takeover": {"addresses": [address]}})
    with pytest.raises(ValueError, match="twice"):
        Config.model_validate({"store": "postgresql://h/d", "takeover": {"addresses": ["192.0.2.1", "192.0.2.1"]}})


# --- the end ----------------------------------------------------------------------------------------------------------


class Leaver:
    def __init__(self, clients: int, seconds: float = 3600.0, others: int = 1) -> None:
        self.drain_on_stop = seconds
        self.clients = clients
        self.serving = others
        self.drains = False

    def set_draining(self, drains: bool) -> None:
        self.drains = drains

    def left(self) -> int:
        return self.clients

    def others(self) -> int:
        return self.serving


def end(*leavers: Leaver) -> tuple[ending.Ending, asyncio.Event]:
    stop = asyncio.Event()
    gateways = {f"wg{number}": each for number, each in enumerate(leavers)}
    return ending.Ending(stop, Notifier({}), gateways), stop


@pytest.mark.parametrize("leavers", [[], [Leaver(5, seconds=0.0)], [Leaver(0)]], ids=["none", "not wanted", "empty"])
def test_without_a_drain_the_end_comes_at_once(leavers: list[Leaver]) -> None:
    asked, stop = end(*leavers)
    asked.asked()
    assert stop.is_set()
    assert not any(each.drains for each in leavers)


@in_loop
async def test_the_end_comes_when_no_client_is_left() -> None:
    one, two, plain = Leaver(3), Leaver(1), Leaver(9, seconds=0.0)
    asked, stop = end(one, two, plain)
    asked.asked()
    await until(lambda: one.drains and two.drains)
    assert not plain.drains
    one.clients = 0
    await asyncio.sleep(3 * ending.LOOK)
    assert not stop.is_set(), "the other one still has a client"
    two.clients = 0
    await stop.wait()


@in_loop
async def test_the_end_comes_when_time_is_up() -> None:
    one = Leaver(3, seconds=0.1)
    asked, stop = end(one)
    asked.asked()
    await stop.wait()
    assert (one.drains, one.clients) == (True, 3)


@in_loop
async def test_a_second_signal_ends_at_once() -> None:
    one = Leaver(3)
    asked, stop = end(one)
    asked.asked()
    await until(lambda: one.drains)
    asked.asked()
    assert stop.is_set()


@in_loop
async def test_nobody_waits_for_gateways_that_are_not_there() -> None:
    one = Leaver(3, others=0)
    asked, stop = end(one)
    asked.asked()
    await stop.wait()


def test_the_manager_is_asked_for_time(tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(f"{tmp_path}/notify")

        async def test() -> list[str]:
            stop = asyncio.Event()
            asked = ending.Ending(stop, Notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"}), {"wg0": Leaver(3)})
            asked.asked()
            said = (await asyncio.to_thread(listener.recv, 1024)).decode()
            asked.asked()
            return said.splitlines()

        assert asyncio.run(test()) == ["EXTEND_TIMEOUT_USEC=10000000", "STATUS=draining: 3 clients are left"]


# --- the loop ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_drain_is_told_to_the_fleet_and_in_the_status() -> None:
    side = FakeFleet()
    async with running(delivery=Delivery.HOLD, fleet=side) as stage:
        stage.loop.set_draining(True)
        assert side.draining, "at once"
        assert (await stage.loop.status(GatewayStatus(interface="wg0"))).draining is True
        side.gateways = [OtherGateway("other", lives=True)]
        side.news()
        await until(lambda: stage.loop.others == 1)
        stage.knock()
        await stage.told()
        assert stage.loop.left == 1
        stage.loop.set_draining(False)
        assert not side.draining
        assert (await stage.loop.status(GatewayStatus(interface="wg0"))).draining is False


@in_loop
async def test_without_a_fleet_the_status_says_nothing_of_drains() -> None:
    async with running(delivery=Delivery.HOLD) as stage:
        assert (await stage.loop.status(GatewayStatus(interface="wg0"))).draining is None


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
