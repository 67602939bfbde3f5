"""From findings to a delivery: the best that was seen to work, or the reason why the wanted one cannot."""

from __future__ import annotations

import json
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wgjit.cli.shared.application import command_line
from wgjit.control.status import GatewayStatus
from wgjit.doctor import probe
from wgjit.doctor.choice import Account, Fact, Finding, advise, choose_delivery, obstacles
from wgjit.errors import ConfigError
from wgjit.model import Delivery

ALL = dict.fromkeys(Fact, True)


def findings(**changes: bool | None) -> list[Finding]:
    """A machine that can do everything, but for the changes."""
    facts: dict[Fact, bool | None] = {**ALL, **{Fact(name): ok for name, ok in changes.items()}}
    return [Finding(fact, ok, f"detail of {fact.value}") for fact, ok in facts.items()]


NO_QUEUE = {"nft_queue": False, "xt_queue": False}
NO_REPLAY = {"xdp_replay": False, "raw_replay_ipv4": False, "raw_replay_ipv6": False}


@pytest.mark.parametrize(
    ("changes", "delivery", "backend"),
    [
        ({}, Delivery.HOLD, "nft"),
        ({"nft_queue": False}, Delivery.HOLD, "xt"),
        ({"nft_queue": None}, Delivery.HOLD, "xt"),
        ({"packet_capture": False}, Delivery.HOLD, "nft"),
        (NO_QUEUE, Delivery.REPLAY, None),
        ({"nft_queue": None, "xt_queue": None}, Delivery.REPLAY, None),
        (NO_QUEUE | {"xdp_replay": False}, Delivery.REPLAY, None),
        (NO_QUEUE | {"xdp_replay": False, "raw_replay_ipv6": False}, Delivery.REPLAY, None),
        (NO_QUEUE | NO_REPLAY, Delivery.FLIP, None),
        (NO_QUEUE | {"packet_capture": False}, Delivery.NONE, None),
        (dict.fromkeys(Fact), Delivery.NONE, None),
    ],
)
def test_auto_takes_the_best_that_works(
    changes: dict[str, bool | None], delivery: Delivery, backend: str | None
) -> None:
    choice = choose_delivery(findings(**changes))
    assert (choice.delivery, choice.backend) == (delivery, backend)
    assert choice.why


@pytest.mark.parametrize(
    ("changes", "wanted", "reason"),
    [
        (NO_QUEUE, Delivery.HOLD, "nft_queue: detail of nft_queue; xt_queue: detail of xt_queue"),
        (NO_REPLAY, Delivery.REPLAY, "xdp_replay: detail of xdp_replay; raw_replay_ipv4"),
        ({"packet_capture": False}, Delivery.REPLAY, "packet_capture: detail of packet_capture"),
        ({"packet_capture": False}, Delivery.FLIP, "packet_capture: detail of packet_capture"),
    ],
)
def test_a_wanted_delivery_that_cannot_work_is_refused_with_the_reason(
    changes: dict[str, bool | None], wanted: Delivery, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"delivery {wanted.value}: cannot work here: {reason}"):
        choose_delivery(findings(**changes), wanted)


@pytest.mark.parametrize("wanted", list(Delivery))
def test_a_wanted_delivery_is_taken_where_nothing_could_be_tried(wanted: Delivery) -> None:
    choice = choose_delivery(findings(**dict.fromkeys(Fact)), wanted)
    assert choice.delivery is wanted
    assert choice.backend == ("nft" if wanted is Delivery.HOLD else None)
    assert choice.why.startswith("asked for")


@pytest.mark.parametrize("wanted", list(Delivery))
def test_a_wanted_delivery_is_taken_though_a_better_one_works(wanted: Delivery) -> None:
    assert choose_delivery(findings(), wanted).delivery is wanted


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"capabilities": False}, "detail of capabilities; run as root"),
        ({"wireguard_kernel": False, "wireguard_go": False}, "no WireGuard"),
        ({"wireguard_kernel": False, "tun": False}, "wireguard-go: detail of tun"),
        (NO_QUEUE | {"packet_capture": False}, "no capture"),
        ({"port": False}, "detail of port"),
    ],
)
def test_what_hinders_a_gateway(changes: dict[str, bool | None], obstacle: str) -> None:
    (found,) = obstacles(findings(**changes))
    assert obstacle in found


@pytest.mark.parametrize(
    "changes", [{}, {"wireguard_kernel": False}, {"wireguard_go": False, "tun": False}, NO_QUEUE, {"nft_queue": None}]
)
def test_what_does_not_hinder_one(changes: dict[str, bool | None]) -> None:
    assert obstacles(findings(**changes)) == []


def test_advice_is_given_only_where_it_betters_something() -> None:
    assert advise(findings()) == []
    assert advise(findings(xt_queue=False, xdp_replay=False, wireguard_go=False)) == []
    (nft,) = advise(findings(nft_queue=False, xdp_replay=False))
    assert "nft_queue" in nft
    assert len(advise(findings(**NO_QUEUE, xdp_replay=False))) == 3
    _, tun = advise(findings(wireguard_kernel=False, tun=False))
    assert "/dev/net/tun, open to the account" in tun


@pytest.mark.parametrize(("changes", "status"), [({}, 0), ({"capabilities": False}, 1)])
def test_the_command_shows_it_and_its_status_tells(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, bool | None], status: int
) -> None:
    monkeypatch.setattr("wgjit.cli.doctor.examine", lambda interface, port, account: findings(**changes))
    answer = CliRunner().invoke(command_line(), ["doctor", "--json"])
    assert answer.exit_code == status
    shown = json.loads(answer.output)
    assert shown["can_run"] is (status == 0)
    assert (shown["delivery"], shown["backend"]) == ("hold", "nft")
    assert {finding["name"] for finding in shown["findings"]} == {fact.value for fact in Fact}

    answer = CliRunner().invoke(command_line(), ["doctor"])
    assert answer.exit_code == status
    assert ("delivery auto takes hold (nft)" in answer.output) is (status == 0)
    assert ("No gateway can run here" in answer.output) is (status == 1)


def test_the_running_gateways_troubles_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(interface: str) -> GatewayStatus:
        return GatewayStatus(interface=interface, troubled_by={"vanished": "another program took a peer out"})

    monkeypatch.setattr("wgjit.cli.doctor.examine", lambda interface, port, account: findings())
    monkeypatch.setattr("wgjit.cli.doctor.client.status", status)
    answer = CliRunner().invoke(command_line(), ["doctor", "wg0", "--json"])
    assert json.loads(answer.output)["troubled_by"] == {"vanished": "another program took a peer out"}
    answer = CliRunner().invoke(command_line(), ["doctor", "wg0"])
    assert "the running gateway is troubled: another program took a peer out" in answer.output


# --- as the service's account ---------------------------------------------------------------------------------------


@pytest.fixture
def tun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in the place of /dev/net/tun, in a folder that any account may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "tun"
        path.touch(0o600)
        monkeypatch.setattr(probe, "TUN", str(path))
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another account, so it needs root")
def test_a_tun_device_that_is_closed_to_the_account_is_found_by_opening_it_as_the_account(tun: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid)
    assert probe._tun(None) == Finding(Fact.TUN, True, f"{tun} opens")
    assert probe._tun(account) == Finding(Fact.TUN, False, f"{tun}: closed to nobody: chmod 666 {tun}, as udev sets it")
    tun.chmod(0o666)
    assert probe._tun(account) == Finding(Fact.TUN, True, f"{tun} opens for nobody")


def test_the_account_is_the_services_or_the_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Account | None] = []
    monkeypatch.setattr("wgjit.cli.doctor.examine", lambda _interface, _port, of: asked.append(of) or findings())
    monkeypatch.setattr("wgjit.cli.doctor.os.geteuid", lambda: 0)
    accounts = {name: pwd.struct_passwd((name, "x", uid, uid, "", "/", "/")) for name, uid in (("wgjit", 7), ("a", 8))}
    monkeypatch.setattr("wgjit.cli.doctor.pwd.getpwnam", accounts.__getitem__)
    for words in ([], ["--user", "a"]):
        assert CliRunner().invoke(command_line("doctor"), ["doctor", *words]).exit_code == 0
    assert asked == [Account("wgjit", 7, 7), Account("a", 8, 8)]
    answer = CliRunner().invoke(command_line("doctor"), ["doctor", "--user", "b"])
    assert isinstance(answer.exception, ConfigError)
    assert "no account 'b' on this machine" in str(answer.exception)
    del accounts["wgjit"]
    assert CliRunner().invoke(command_line("doctor"), ["doctor"]).exit_code == 0
    assert asked[-1] is None, "no such account, so there is nothing to try as it"
