"""A revoked peer that another program puts back is told of once, with what it means, and counted each time."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.daemon.conftest import running, until
from tests.unit.daemon.test_loop import in_loop
from wgjit.control.status import GatewayStatus
from wgjit.model import PeerChange


def told(log: list[Any]) -> list[Any]:
    return [line for line in log if "put a revoked peer back" in line["event"]]


@pytest.mark.parametrize("verb", ["remove", "disable"])
def test_a_revoked_peer_is_out_after_its_knock_however_often_it_is_put_back(verb: str) -> None:
    @in_loop
    async def goes() -> None:
        async with running() as stage:
            client = stage.clients[0]
            await until(lambda: stage.store.calls.count("last_change") >= 1)
            if verb == "remove":
                stage.store.remove(client.key)
            else:
                stage.store.change(client.peer.name or "", lambda peer: disabled(peer))
            with capture_logs() as log:
                for times in (1, 2):
                    stage.device.apply([PeerChange.install(client.peer)])
                    stage.knock()
                    assert (await stage.told()).refusal
                    await until(lambda times=times: stage.metrics.put_back == times)  # type: ignore[misc]
                    await until(lambda: client.key not in stage.device.keys)
            (line,) = told(log)
            assert line["peer"] == str(client.key)
            assert line["registry"] == f"{verb}d"
            assert "register or enable it" in line["do"]
            assert (await stage.loop.status(GatewayStatus(interface="wgtest"))).put_back == 2

    goes()


def disabled(peer: Any) -> Any:
    import dataclasses

    return dataclasses.replace(peer, enabled=False)


@in_loop
async def test_at_the_start_nobody_is_said_to_have_put_it_back() -> None:
    def before(stage: Any) -> None:
        client = stage.clients[0]
        stage.device.apply([PeerChange.install(client.peer)])
        stage.store.remove(client.key)
        stage.store.forget_changes()  # nor does the log tell of it

    with capture_logs() as log:
        async with running(before=before) as stage:
            await until(lambda: not stage.device.keys)
            assert stage.metrics.put_back == 0
    assert told(log) == []
