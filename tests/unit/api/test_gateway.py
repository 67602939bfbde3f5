"""What the API asks a running gateway for; and what becomes of a mistake of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import httpx_sse
import pytest

from lab.registry_service import wait_until
from tests.unit.api.conftest import GATEWAY_KEY, Api
from tests.unit.api.test_peers import problem
from tests.unit.cli.test_gateway import gateway
from tests.unit.daemon.test_control import RECORDS
from wgjit.api.app import create_app
from wgjit.api.registries import Registries
from wgjit.api.service import Service
from wgjit.control.status import GatewayStatus
from wgjit.daemon.control import ControlServer
from wgjit.daemon.feed_hub import FeedHub
from wgjit.errors import NotInFleet
from wgjit.management.site import Site, site


def test_status_feed_and_public_key_come_from_the_gateway(
    own: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    api = own(config='[store]\npath = "{folder}/wg0.db"\n[pool]\nipv4 = "10.8.0.0/24"\n[client]\nendpoint = "vpn"\n')
    assert api.local.post("/v1/peers", json={"name": "before"}).json()["config"] is None

    async def status() -> GatewayStatus:
        return GatewayStatus(interface="wg0", residents=3, public_key=GATEWAY_KEY)

    async def main() -> None:
        hub = FeedHub()
        transport = httpx.AsyncHTTPTransport(uds=str(api.socket))
        async with (
            ControlServer("wg0", status, hub),
            httpx.AsyncClient(transport=transport, base_url="http://wgjit", timeout=30) as http,
        ):
            assert (await http.get("/v1/status")).json()["residents"] == 3
            made = (await http.post("/v1/peers", json={"name": "after"})).json()
            assert f"PublicKey = {GATEWAY_KEY}" in made["config"]
            async with httpx_sse.aconnect_sse(http, "GET", "/v1/feed") as source:
                assert hub  # the answer begins when the feed is listened to
                for record in RECORDS:
                    hub.publish(record)
                events = source.aiter_sse()
                for record in RECORDS:
                    event = await anext(events)
                    assert (event.event, event.json()) == ("initiation", record.as_dict())

    asyncio.run(main())
    assert problem(api.local.get("/v1/status")) == (503, "no-gateway")


def test_the_gateways_health_and_its_drain(
    own: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    api = own()
    open_to_all, admin, reader = api.remote(None), api.remote(api.token("admin")), api.remote(api.token("read"))
    far = {"draining": True, "left": 3, "others": 1}
    health = {"interface": "wg0", "failing": {}}

    answer = open_to_all.get("/v1/gateway/healthz")
    assert problem(answer) == (503, "unhealthy")
    assert "gateway" in answer.json()["detail"]
    assert problem(admin.post("/v1/gateway/drain")) == (503, "no-gateway")
    # Answers are shared for a second.
    with gateway(drain=[far, far], undrain=far | {"draining": False}, health=health):
        wait_until(
            lambda: open_to_all.get("/v1/gateway/healthz").status_code == 200, 60.0
        )  # answers are shared for a second
        assert open_to_all.get("/v1/gateway/healthz").json() == {"healthy": True}
        assert admin.post("/v1/gateway/drain").json() == far
        assert admin.delete("/v1/gateway/drain").json() == far | {"draining": False}
        assert problem(reader.post("/v1/gateway/drain")) == (403, "insufficient-scope")
    with gateway(drain=NotInFleet("no fleet"), health=health | {"failing": {"inside": "10.0.0.1: no answer"}}):
        wait_until(lambda: open_to_all.get("/v1/gateway/healthz").status_code == 503, 60.0)
        answer = open_to_all.get("/v1/gateway/healthz")
        assert problem(answer) == (503, "unhealthy")
        assert "inside" in answer.json()["detail"]
        assert "10.0.0.1" not in answer.text, "who asks without a token learns no address of the inside"
        assert problem(admin.post("/v1/gateway/drain")) == (409, "not-in-fleet")


def test_a_mistake_of_ours_tells_an_id_that_the_log_has_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here: Site = site("wg0", None, str(tmp_path / "wg0.db"))

    def broken(_: object) -> None:
        raise ValueError("a secret value")

    async def main() -> httpx.Response:
        service = Service("wg0", here, Registries(here.where))
        monkeypatch.setattr(Registries, "use", broken)
        transport = httpx.ASGITransport(app=create_app(service))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://wgjit") as http:
            return await http.get("/v1/healthz")

    answer = asyncio.run(main())
    assert problem(answer) == (500, "internal-error")
    assert answer.json()["id"] in answer.json()["detail"]
    log = capsys.readouterr()
    assert answer.json()["id"] in log.out + log.err
    assert "secret" not in answer.text + log.out + log.err
    assert "Traceback" not in answer.text
