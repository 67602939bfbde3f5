"""`wgjit health`, `drain` and `undrain` against a gateway's control socket, behind which nothing but answers is."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.daemon.test_control import status
from wgjit.control import asking
from wgjit.control.socket import socket_path
from wgjit.daemon.control import ControlServer
from wgjit.daemon.feed_hub import FeedHub
from wgjit.errors import NotInFleet

HEALTHY = {"interface": "wg0", "healthy": True, "failing": {}}
ILL = {"interface": "wg0", "healthy": False, "failing": {"inside": "10.0.0.1: no answer", "draining": "2 clients left"}}


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    return tmp_path


@contextmanager
def gateway(interface: str = "wg0", **answers: object) -> Iterator[None]:
    """A control socket that answers with these: an object, a list of them, or an error."""

    def verb(said: object) -> Callable[[], AsyncIterator[Mapping[str, Any]]]:
        async def answer() -> AsyncIterator[Mapping[str, Any]]:
            for each in said if isinstance(said, list) else [said]:
                if isinstance(each, Exception):
                    raise each
                yield each

        return answer

    verbs = {name: verb(said) for name, said in answers.items()}
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with ControlServer(interface, status, FeedHub(), verbs):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(60)
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("wg0",)])
def test_health_is_a_line_and_an_exit_status(wgjit: Run, arguments: tuple[str, ...]) -> None:
    with gateway(health=HEALTHY):
        assert wgjit("health", *arguments) == (0, "wg0: healthy\n", "")
    told = "wg0: unhealthy: inside: 10.0.0.1: no answer; draining: 2 clients left\n"
    with gateway(health=ILL):
        assert wgjit("health", *arguments) == (1, told, "")
        assert wgjit("health", "--json", *arguments) == (1, json.dumps(ILL) + "\n", "")


def test_health_of_several_is_that_of_the_worst(wgjit: Run) -> None:
    with gateway(health=HEALTHY), gateway("wg1", health={**ILL, "interface": "wg1"}):
        code, out, _ = wgjit("health")
        assert (code, [line.split(": ")[:2] for line in out.splitlines()]) == (
            1,
            [["wg0", "healthy"], ["wg1", "unhealthy"]],
        )
        assert wgjit("health", "wg0")[0] == 0


def test_who_cannot_be_asked_is_unhealthy(wgjit: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wgjit("health") == (1, "wgjit: unhealthy: gateway: no gateway runs here\n", "")
    no_gateway = "wg0: unhealthy: gateway: no gateway runs on it; start one with `wgjit up wg0`\n"
    assert wgjit("health", "wg0") == (1, no_gateway, "")
    (run_folder / "api.api.sock").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path("wg0")))
        assert wgjit("health") == (1, no_gateway, ""), "killed"
        listener.listen()
        monkeypatch.setattr(asking, "PATIENCE", 0.05)
        monkeypatch.setattr(asking.health, "__defaults__", (0.05,))
        hangs = "wg0: unhealthy: gateway: no answer within 0.05 s; see the gateway's log\n"
        assert wgjit("health") == (1, hangs, "")


def test_an_older_gateway_does_not_know_the_question(wgjit: Run) -> None:
    with gateway():
        code, out, _ = wgjit("health")
    assert code == 1
    assert out.startswith("wg0: unhealthy: gateway: ")


def test_a_secret_in_the_place_of_a_name_is_not_repeated(wgjit: Run) -> None:
    code, out, err = wgjit("health", "postgresql://u:secret@h/d")
    assert code == 1
    assert "secret" not in out + err


def test_health_loads_little() -> None:
    """keepalived starts it each second."""
    program = (
        "import sys\nsys.argv = ['wgjit', 'health']\nfrom wgjit.cli import main\n"
        "try: main()\nexcept SystemExit: print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"typer", "click", "pydantic", "asyncio", "dataclasses", "wgjit.config", "wgjit.wire.key_text", "structlog"}
    assert heavy.isdisjoint(loaded)


def test_following_prints_what_changes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(health=HEALTHY):
        found = iter([asking.look(None), asking.look(None)])
    found = iter([*found, asking.look("wg0"), asking.look("wg0")])
    monkeypatch.setattr(asking, "look", lambda _: next(found))
    with pytest.raises(StopIteration):
        asking.follow(pause=0.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["healthy", "unhealthy"]


# --- drain ------------------------------------------------------------------------------------------------------------


def progress(*left: int, draining: bool = True, others: int = 1) -> list[dict[str, object]]:
    return [{"draining": draining, "left": each, "others": others} for each in left]


def test_a_drain_that_ends(wgjit: Run) -> None:
    with gateway(drain=progress(2_000, 1, 1, 0)):
        code, out, err = wgjit("drain")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"wg0: draining, {each} left" for each in ("2,000 clients", "1 client", "no client")]


def test_a_drain_that_takes_too_long(wgjit: Run) -> None:
    with gateway(drain=progress(3, 2)):
        code, out, err = wgjit("drain", "wg0", "--over", "0s")
    assert (code, out) == (1, "wg0: draining, 3 clients left\n")
    assert err == "wgjit: wg0: 3 clients left after 0s; it drains on\n"


def test_a_drain_where_nobody_else_serves_says_so(wgjit: Run) -> None:
    with gateway(drain=progress(3, others=0)):
        _, _, err = wgjit("drain", "--over", "0s")
    assert "no other gateway of the fleet is known to serve" in err


def test_a_drain_for_programs(wgjit: Run) -> None:
    with gateway(drain=progress(1, 0)):
        code, out, _ = wgjit("drain", "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, progress(1, 0))


def test_a_drain_that_somebody_ends(wgjit: Run) -> None:
    with gateway(drain=[*progress(3), *progress(3, draining=False)]):
        code, _, err = wgjit("drain")
    assert (code, err) == (1, "wgjit: wg0: somebody has ended the drain; 3 clients left\n")


def test_a_gateway_without_a_fleet_does_not_drain(wgjit: Run) -> None:
    refusal = NotInFleet("this gateway is in no fleet")
    with gateway(drain=refusal, undrain=refusal):
        for verb in ("drain", "undrain"):
            assert wgjit(verb) == (1, "", "wgjit: wg0: this gateway is in no fleet\n")


def test_undrain_tells_how_many_are_here(wgjit: Run) -> None:
    with gateway(undrain=progress(5, draining=False)):
        assert wgjit("undrain") == (0, "wg0: serves, 5 clients here\n", "")
        assert json.loads(wgjit("undrain", "--json")[1]) == progress(5, draining=False)[0]


def test_which_gateway_is_meant(wgjit: Run) -> None:
    code, _, err = wgjit("drain")
    assert (code, err) == (1, "wgjit: no gateway runs here; start one with `wgjit up`\n")
    with ExitStack() as stack:
        for name in ("wg0", "wg1"):
            stack.enter_context(gateway(name, undrain=progress(0, draining=False)))
        code, _, err = wgjit("undrain")
        assert (code, err) == (1, "wgjit: several gateways run here; name one: wg0, wg1\n")
        assert wgjit("undrain", "wg1")[0] == 0


def test_a_duration_is_read_as_elsewhere(wgjit: Run) -> None:
    code, _, err = wgjit("drain", "--over", "60")
    assert code == 1
    assert "write a number and a unit" in err
