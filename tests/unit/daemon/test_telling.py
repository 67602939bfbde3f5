"""The log tells of clients, so that the journal answers a person's call, and of trouble that looks like health."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.unit.core.conftest import START
from tests.unit.daemon.conftest import Clock, Running, running, until
from tests.unit.daemon.test_loop import in_loop
from wgjit.cli.shared.application import command_line
from wgjit.control.status import GatewayStatus
from wgjit.core.vocabulary.told import Departure, Left, NotCompleted, Revocation, Vanished
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.notices import Notices
from wgjit.daemon.telling import clients, pace, troubles
from wgjit.daemon.telling.clients import BEGINNING, Clients
from wgjit.daemon.telling.pace import BURST, QUIET, RATE, Pace
from wgjit.daemon.telling.troubles import CALM, Trouble, Troubles
from wgjit.daemon.telling.words import LEFT, REFUSED, REVOKED, likely
from wgjit.drivers.base import CaptureCounters
from wgjit.model import Delivery, Endpoint, PeerChange, PrivateKey, PublicKey, Tai64n
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal

Lines = list[Any]

KEY = PrivateKey(b"\x31" * 32).public()
SOURCE = Endpoint.parse("192.0.2.9:4000")


@pytest.fixture(autouse=True)
def _verbose() -> Iterator[None]:
    """Debug lines count here, whatever level a command in another test has left behind."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    yield
    structlog.configure(**before)


def named(lines: Lines, event: str) -> Lines:
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    for module in (clients, troubles):
        monkeypatch.setattr(module.time, "monotonic", made.monotonic)
    yield made
    monkeypatch.undo()


def record(decision: Decision, refusal: Refusal | None = None, **changes: Any) -> FeedRecord:
    told = FeedRecord(
        START,
        SOURCE,
        SOURCE,
        public_key=KEY,
        name="alice",
        proven=True,
        timestamp=Tai64n.from_unix(START),
        decision=decision,
        refusal=refusal,
        delivery=Delivery.HOLD if refusal is None else None,
        stages={"total": 1234.5},
    )
    return dataclasses.replace(told, **changes)


# --- a running gateway ------------------------------------------------------------------------------------------------


async def told_of(stage: Running, lines: Lines, event: str) -> Any:
    await until(lambda: named(lines, event) != [])
    (line,) = named(lines, event)
    return line


def test_who_connects_and_is_revoked_has_a_line_each() -> None:
    @in_loop
    async def goes() -> None:
        async with running(delivery=Delivery.HOLD) as stage:
            client = stage.clients[0]
            await until(lambda: stage.store.calls.count("last_change") >= 1)
            with capture_logs() as lines:
                stage.knock()
                await stage.told()
                line = await told_of(stage, lines, "connected")
                assert line == {
                    "event": "connected",
                    "log_level": "info",
                    "name": "'client 1'",
                    "peer": str(client.key)[:BEGINNING],
                    "endpoint": str(client.endpoint),
                    "delivery": "hold",
                    "ms": line["ms"],
                }
                assert line["ms"] > 0
                stage.store.change("client 1", lambda peer: dataclasses.replace(peer, enabled=False))
                line = await told_of(stage, lines, "revoked")
                assert (line["name"], line["why"]) == ("'client 1'", REVOKED[Revocation.DISABLED])
                await until(lambda: not stage.device.keys)
                assert named(lines, "left") == [], "it was told already"
                stage.knock()
                assert (await stage.told()).refusal is Refusal.DISABLED
                line = await told_of(stage, lines, "refused")
                assert (line["refusal"], line["log_level"]) == ("disabled", "info")
                assert "wgjit peer enable" in line["do"]

    goes()


def test_nobody_hears_of_strangers_at_info() -> None:
    """Whoever knows a registered key, or none, can send these, as many as he likes."""

    @in_loop
    async def goes() -> None:
        async with running(clients=2) as stage:
            stage.store.remove(stage.clients[1].key)
            stage.store.change("client 1", lambda peer: dataclasses.replace(peer, enabled=False))
            await until(lambda: stage.store.calls.count("last_change") >= 1)
            with capture_logs() as lines:
                stage.knock(1)
                assert (await stage.told()).refusal is Refusal.UNKNOWN
            assert [line for line in lines if line["log_level"] != "debug"] == []
            assert named(lines, "refused a stranger") != []

    goes()


# --- one line for each client -----------------------------------------------------------------------------------------


def test_every_refusal_of_a_registered_peer_is_told_with_its_remedy() -> None:
    """Each that a registered peer can get, and only if its knock was proven: else anybody could write the log."""
    strangers = {
        Refusal.NOT_UDP, Refusal.BAD_LENGTH, Refusal.BAD_TYPE, Refusal.BAD_RESERVED, Refusal.BAD_MAC1,
        Refusal.DUPLICATE, Refusal.BAD_POINT, Refusal.BAD_STATIC, Refusal.UNKNOWN, Refusal.FORGED,
    }  # fmt: skip
    load = {Refusal.RATE_LIMITED, Refusal.OVERLOADED, Refusal.STORE_FAILED}
    assert set(REFUSED) == set(Refusal) - strangers - load
    for refusal in REFUSED:
        with capture_logs() as lines:
            Clients().saw(record(Decision.REFUSED, refusal))
            Clients().saw(record(Decision.REFUSED, refusal, proven=False))
        (line,) = [line for line in lines if line["log_level"] == "info"]
        assert (line["event"], line["refusal"], line["name"]) == ("refused", refusal.value, "'alice'")
        assert line["why"]
        assert line["do"]


def test_every_departure_and_revocation_has_its_words() -> None:
    assert set(LEFT) == set(Departure) - {Departure.REVOKED}
    assert set(REVOKED) == set(Revocation)
    with capture_logs() as lines:
        for why in Departure:
            Clients().left(Left(KEY, why, "alice"))
    assert [line["why"] for line in named(lines, "left")] == list(LEFT.values())


def test_other_peoples_names_and_keys_are_quoted_or_withheld() -> None:
    secret = "psk=" + "A1b2" * 10 + "xyz="
    with capture_logs() as lines:
        for name in ("a\nlevel=error event=x", secret, None):
            Clients().saw(record(Decision.INSTALLED, name=name))
    first, second, third = named(lines, "connected")
    assert first["name"] == repr("a\nlevel=error event=x")
    assert second["name"] == "(withheld: holds a key)"
    assert "name" not in third
    assert str(KEY) not in str(lines), "its beginning is enough"


def test_a_peer_has_one_line_of_a_kind_in_a_minute_with_the_count_of_the_others(clock: Clock) -> None:
    told = Clients()
    with capture_logs() as lines:
        for _ in range(12):
            told.saw(record(Decision.REFUSED, Refusal.STALE))
            clock.now += 5
        told.saw(record(Decision.REFUSED, Refusal.STALE))
        told.saw(record(Decision.INSTALLED))
    first, second = named(lines, "refused")
    assert "left_out" not in first
    assert second["left_out"] == 11
    assert len(named(lines, "connected")) == 1, "another kind has its own"


def test_many_peers_have_a_burst_and_a_rate_and_what_is_left_out_is_counted_each_minute(clock: Clock) -> None:
    told = Clients()
    with capture_logs() as lines:
        for number in range(1000):
            key = PublicKey(number.to_bytes(32, "big"))
            told.saw(record(Decision.INSTALLED, public_key=key))
        assert len(named(lines, "connected")) == BURST
        clock.now += 10
        for number in range(1000):
            told.left(Left(PublicKey(number.to_bytes(32, "big")), Departure.IDLE))
        assert len(named(lines, "left")) == 10 * RATE
        clock.now += clients.ROUND
        told.beat()
        told.beat()
    (line,) = named(lines, "lines about clients were left out")
    assert (line["connected"], line["left"]) == (1000 - BURST, 1000 - 10 * RATE)


def test_what_is_left_out_is_not_formatted() -> None:
    class Unspeakable(Endpoint):
        def __str__(self) -> str:
            raise AssertionError("formatted")

    told = Clients()
    told.saw(record(Decision.INSTALLED))
    told.saw(record(Decision.INSTALLED, source=Unspeakable(bytes(4), 1)))


def test_the_memory_is_bounded() -> None:
    asked = Pace()
    for number in range(2 * pace.REMEMBERED):
        assert asked.may_tell(number.to_bytes(32, "big"), "connected", number / RATE) == 0
    assert len(asked._told) == pace.REMEMBERED


def test_strangers_are_told_of_at_debug_with_counts_of_a_minute(clock: Clock) -> None:
    told = Clients()
    with capture_logs() as lines:
        for _ in range(30):
            told.saw(record(Decision.REFUSED, Refusal.UNKNOWN, name=None))
            told.saw(record(Decision.REFUSED, Refusal.FORGED, proven=False))
            told.refused(Refusal.BAD_TYPE)
        clock.now += clients.ROUND
        told.beat()
    assert {line["log_level"] for line in lines} == {"debug"}
    assert sorted(line["refusal"] for line in named(lines, "refused a stranger")) == ["forged", "unknown"]
    (line,) = named(lines, "refused within a minute")
    assert (line["unknown"], line["forged"], line["bad_type"]) == (30, 30, 30)


# --- trouble that looks like health -----------------------------------------------------------------------------------


def vain(key: PublicKey = KEY, **changes: Any) -> NotCompleted:
    made = NotCompleted(key, "alice", SOURCE, 4, has_preshared_key=False, was_up=False, others_complete=True)
    return dataclasses.replace(made, **changes)


CASES = {
    Trouble.RULES_GONE: (lambda told, n: told.rules_put_back(), "another program took the firewall's rules away"),
    Trouble.VANISHED: (
        lambda told, n: told.vanished(Vanished(1, ((KEY, "alice"),))),
        "another program took residents out",
    ),
    Trouble.NEVER_COMPLETED: (
        lambda told, n: told.not_completed(vain(PublicKey(n.to_bytes(32, "big")))),
        "peers knock again and again",
    ),
    Trouble.OVER_SOURCE_RATE: (lambda told, n: told.over_source_rate(SOURCE), "gateway.source_rate"),
    Trouble.QUEUE_OVERRAN: (
        lambda told, n: told.counted(CaptureCounters(10 * n, n)),
        "packets passed unseen",
    ),
}


@pytest.mark.parametrize("trouble", list(Trouble))
def test_a_trouble_is_told_once_then_when_its_count_has_changed_and_its_end(clock: Clock, trouble: Trouble) -> None:
    happens, text = CASES[trouble]
    metrics = Metrics()
    told = Troubles(metrics)

    def warnings(seconds: float) -> Lines:
        clock.now += seconds
        with capture_logs() as lines:
            told.beat()
        assert all(line["log_level"] == "warning" for line in lines)
        return lines

    assert warnings(1) == []
    happens(told, 1)  # type: ignore[no-untyped-call]
    (line,) = warnings(1)
    assert text in line["event"]
    assert line["count"] == 1
    assert line["do"]
    happens(told, 2)  # type: ignore[no-untyped-call]
    happens(told, 3)  # type: ignore[no-untyped-call]
    assert warnings(1) == [], "not at each"
    (line,) = warnings(QUIET)
    assert line["count"] == 3
    assert warnings(QUIET) == [], "nothing has changed"
    assert metrics.troubles == {trouble: 3}
    assert set(told.lately()) == {trouble.value}
    for number in (1, 2, 3):
        told.not_completed(vain(PublicKey(number.to_bytes(32, "big")), over=True))
    clock.now += CALM
    with capture_logs() as lines:
        told.beat()
        told.beat()
    assert [(line["event"], line["trouble"]) for line in lines] == [("trouble is over", trouble.value)]
    assert told.lately() == {}
    assert metrics.troubles == {trouble: 3}


def test_the_loudest_sources_are_named(clock: Clock) -> None:
    told = Troubles(Metrics())
    for _ in range(3):
        told.over_source_rate(Endpoint.parse("[2001:db8:1:2::7]:1"))
    told.over_source_rate(SOURCE)
    for number in range(2 * troubles.SOURCES):
        told.over_source_rate(Endpoint((number + 1).to_bytes(4, "big"), 1))
    with capture_logs() as lines:
        told.beat()
    (line,) = lines
    assert line["sources"].startswith("2001:db8:1:2::/64 (3), ")
    assert line["count"] == 4 + 2 * troubles.SOURCES
    assert "source_rate" in line["do"]


def test_what_the_rules_let_by_for_its_source_is_no_overrun(clock: Clock) -> None:
    metrics = Metrics()
    told = Troubles(metrics)
    told.counted(CaptureCounters(5, 0, 7))
    told.counted(CaptureCounters(5, 0, 7))
    assert metrics.troubles == {Trouble.OVER_SOURCE_RATE: 7}
    assert metrics.as_dict(CaptureCounters(5, 1, 7))["capture_dropped"] == 8, "all that passed unseen"


def test_a_client_that_gets_through_before_it_is_told_of_is_no_trouble(clock: Clock) -> None:
    told = Troubles(Metrics())
    with capture_logs() as lines:
        told.not_completed(vain())
        told.not_completed(vain(over=True))
        told.beat()
    assert lines == []


def test_the_likely_cause_follows_from_what_is_seen() -> None:
    none, some = likely(vain()), likely(vain(has_preshared_key=True))
    assert none.startswith("the client has a preshared key, and the registry has none")
    assert some.startswith("the client lacks the preshared key that the registry has")
    assert "leave this machine" not in none, "others complete theirs"
    assert "leave this machine" in likely(vain(others_complete=False))
    assert likely(vain(others_complete=False, was_up=True)).startswith("the way back has changed")


def test_a_peer_that_never_completes_has_a_line_of_its_own_with_the_causes(clock: Clock) -> None:
    told = Notices(Metrics())
    with capture_logs() as lines:
        told.not_completed(vain())
        told.not_completed(vain(over=True))
    (line,) = named(lines, "never completed")
    assert (line["log_level"], line["knocks"], line["endpoint"]) == ("info", 4, str(SOURCE))
    assert line["likely"] == likely(vain())


@in_loop
async def test_a_running_gateway_tells_of_its_troubles_in_log_and_status() -> None:
    def before(stage: Running) -> None:
        stage.device.apply([PeerChange.install(client.peer) for client in stage.clients])

    async with running(clients=3, before=before) as stage:
        await until(lambda: all(seen.registered for _, seen in stage.gateway.residency.items()))
        with capture_logs() as lines:
            stage.capture.rules_gone = True
            stage.capture.dropped = 9
            stage.device.apply([PeerChange(client.key, remove=True) for client in stage.clients])
            await until(lambda: len({line["event"] for line in lines if line["log_level"] == "warning"}) == 3)
        (gone,) = [line for line in lines if "residents" in line["event"]]
        assert gone["count"] == 3
        assert "client 1" in gone["peers"]
        status = await stage.loop.status(GatewayStatus(interface="wg0"))
        assert status.troubles == {"rules_gone": 1, "queue_overran": 9, "vanished": 3}
        assert status.troubled_by is not None
        assert re.match(r"another program took 3 peers out of the interface", status.troubled_by["vanished"])


def test_status_shows_troubles_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(interface: str) -> GatewayStatus:
        sentences = {"vanished": "another program took a peer out", "rules_gone": "they are back"}
        return GatewayStatus(interface=interface, troubles={"vanished": 1, "rules_gone": 2}, troubled_by=sentences)

    monkeypatch.setattr("wgjit.cli.gateway.status.client.status", status)
    lines = CliRunner().invoke(command_line(), ["status", "wg0"]).output.splitlines()
    shown = {name: value.strip() for name, _, value in (line.partition(" ") for line in lines)}
    assert shown["troubles"] == "vanished 1, rules_gone 2"
    assert shown["troubled_by"] == "vanished: another program took a peer out; rules_gone: they are back"


def test_lines_are_made_for_people() -> None:
    """What they name exists."""
    from wgjit.config.settings import GatewaySettings

    texts = [text for words in REFUSED.values() for text in words]
    assert {name for text in texts for name in re.findall(r"gateway\.(\w+)", text)} <= set(GatewaySettings.model_fields)
