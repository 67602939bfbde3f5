"""A gateway that hears nobody, since the interface's socket is elsewhere: told once, and when it is over."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.daemon.conftest import until
from wgjit.daemon.leaving import deaf
from wgjit.daemon.leaving.deaf import DeafWatch
from wgjit.drivers.wireguard import listening
from wgjit.drivers.wireguard.listening import is_bound, why_deaf, why_down


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_bound_by_any_socket_of_either_family(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((address, 0))
        port = bound.getsockname()[1]
        assert is_bound(port) is True
        assert why_deaf("lo", port) is None
    assert is_bound(port) is False


def test_what_cannot_be_read_is_not_taken_for_deaf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listening, "_TABLES", (str(tmp_path / "none"),))
    assert is_bound(51820) is None
    monkeypatch.setattr(listening, "why_down", lambda _: None)
    assert why_deaf("wg0", 51820) is None


def test_an_interface_that_is_down_is_another_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_down("wgnone") is not None
    monkeypatch.setattr(listening, "is_bound", lambda _: False)
    assert why_deaf("wgnone", 51820) is None
    monkeypatch.setattr(listening, "why_down", lambda _: None)
    assert "made in another namespace" in (why_deaf("wg0", 51820) or "")


def test_it_is_told_once_and_again_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["not yet", None, None, "deaf", "deaf", "deaf", "deaf", None])
    looks = 0

    def why(_interface: str, _port: int) -> str | None:
        nonlocal looks
        looks += 1
        return next(answers, None)

    monkeypatch.setattr(deaf, "why_deaf", why)
    monkeypatch.setattr(deaf, "INTERVAL", 0.0)
    monkeypatch.setattr(deaf, "AGAIN", 0.0)

    async def watch() -> None:
        watched = DeafWatch("wg0", 51820)
        task = asyncio.create_task(watched.run())
        await until(lambda: looks > 8)
        assert watched.why is None
        task.cancel()

    with capture_logs() as log:
        asyncio.run(asyncio.wait_for(watch(), 120))
    assert [(line["log_level"], line.get("why")) for line in log] == [("warning", "deaf"), ("info", None)]
