"""Event streams of the running server: order, resumption, gaps, revocation, slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import httpx_sse
import pytest

from lab.registry import LabRegistry
from tests.unit.api.conftest import BY, Api
from tests.unit.api.test_peers import new_key, problem
from tests.unit.cli.conftest import written_by_another
from wgjit.api.changes import Follower, Reset
from wgjit.api.entrance.threads import Threads
from wgjit.api.registries import Registries
from wgjit.api.routes import streams
from wgjit.model import Change, Peer, PublicKey
from wgjit.stores.opening import Where
from wgjit.stores.sqlite.store import SqliteStore


@contextlib.contextmanager
def follow(http: httpx.Client, **options: object) -> Iterator[Iterator[httpx_sse.ServerSentEvent]]:
    with httpx_sse.connect_sse(http, "GET", "/v1/changes", **options) as source:  # type: ignore[arg-type]
        assert source.response.status_code == 200
        yield source.iter_sse()


def make(api: Api, name: str) -> str:
    key = new_key()
    body = {"public_key": key, "name": name, "allowed_ips": [str(_address())]}
    assert api.local.post("/v1/peers", json=body).status_code == 201
    return key


def _address() -> str:
    return "fd00::" + ":".join(os.urandom(2).hex() for _ in range(4))


def test_changes_are_told_in_order_and_resumed_where_one_was(api: Api) -> None:
    http = api.local
    key = make(api, "watched")
    with follow(api.local) as events:
        opened = next(events)
        assert opened.event == "open"
        assert opened.json() == {"sequence": int(opened.id)}
        http.patch("/v1/peers/watched", json={"enabled": False})
        http.delete("/v1/peers/watched")
        updated, removed = next(events), next(events)
    assert (updated.event, removed.event) == ("updated", "removed")
    for number, event in enumerate((updated, removed), int(opened.id) + 1):
        assert event.json() == {"public_key": key, "sequence": number}
        assert event.id == str(number)
    with follow(api.local, headers={"Last-Event-ID": updated.id}) as events:
        assert (next(events).event, next(events).id) == ("open", removed.id)
    with follow(api.local, params={"after": opened.id}) as events:
        assert [next(events).id for _ in range(3)] == [opened.id, updated.id, removed.id]


def test_who_has_lost_the_place_is_told_to_reset(own: Callable[..., Api]) -> None:
    api = own()
    make(api, "one")
    for keepalive in range(5):
        api.local.patch("/v1/peers/one", json={"keepalive": keepalive + 1})
    written_by_another(api.place, "DELETE FROM changes WHERE sequence <= 3")
    with follow(api.local, params={"after": 1}) as events:
        assert next(events).event == "open"
        reset = next(events)
        assert (reset.event, reset.id) == ("reset", "5")
        api.local.patch("/v1/peers/one", json={"keepalive": 100})
        assert next(events).id == "6"
    with follow(api.local, params={"after": 999}) as events:  # of another file than this
        assert [next(events).event for _ in range(2)] == ["open", "reset"]


def test_a_place_that_is_none_is_refused(api: Api) -> None:
    answer = api.local.get("/v1/changes", headers={"Last-Event-ID": "x"})
    assert problem(answer) == (422, "invalid-value")
    assert problem(api.local.get("/v1/changes", params={"after": "-1"})) == (422, "invalid-value")


def test_the_stream_of_a_revoked_token_ends(api: Api) -> None:
    token = api.token("gateway", name="revoked in between")
    with follow(api.remote(token)) as events:
        assert next(events).event == "open"
        api.local.delete("/v1/tokens/revoked in between")
        assert list(events) == []


def test_streams_end_with_the_server(own: Callable[..., Api]) -> None:
    api = own()
    with follow(api.local) as events:
        assert next(events).event == "open"
        api.process.terminate()
        assert list(events) == []
    assert api.end() == 0


# --- the follower --------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(tmp_path / "registry.db", timeout=5)) as opened:
        yield opened


def change(registry: LabRegistry, count: int) -> None:
    for _ in range(count):
        key = PublicKey(os.urandom(32))
        registry.peers.hand_out(Peer(key), {}, by=BY)
        registry.peers.remove_all([key], by=BY)


@contextlib.asynccontextmanager
async def following(path: Path) -> AsyncIterator[Follower]:
    follower = Follower(Registries(Where.of_file(path)), Threads(), poll=0.001)
    async with polling(follower):
        yield follower


@contextlib.asynccontextmanager
async def polling(follower: Follower) -> AsyncIterator[None]:
    task = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def numbers(page: list[Change] | Reset) -> list[int]:
    assert not isinstance(page, Reset)
    return [each.sequence for each in page]


def test_all_listeners_share_one_look_at_the_log(registry: LabRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    change(registry, 3)
    reads = 0
    read = SqliteStore.changes

    def counted(self: SqliteStore, after: int, limit: int = 1000) -> list[Change]:
        nonlocal reads
        reads += 1
        return read(self, after, limit)

    monkeypatch.setattr(SqliteStore, "changes", counted)

    async def main() -> None:
        async with following(registry.path) as follower:
            streams = [follower.follow(0) for _ in range(50)]
            assert numbers(await anext(streams[0])) == [1, 2, 3]
            for stream in streams[1:]:
                assert numbers(await anext(stream)) == [1, 2, 3]
            for stream in streams:
                await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert reads == 1


def test_a_listener_that_takes_its_time_misses_nothing_and_nothing_waits_for_it(registry: LabRegistry) -> None:
    async def main() -> None:
        async with following(registry.path) as follower:
            slow, quick = follower.follow(0), follower.follow(0)
            change(registry, 1)
            assert numbers(await anext(slow)) == [1]
            seen: list[int] = []
            while len(seen) < 6000:
                change(registry, 500) if registry.last_change() < 6000 else None
                seen += numbers(await anext(quick))
            assert len(follower._recent) <= 4096
            assert seen[:6000] == list(range(1, 6001))
            late = [1]
            while late[-1] < 6000:
                late += numbers(await anext(slow))
            assert late == list(range(1, late[-1] + 1))

    asyncio.run(main())


def test_another_file_in_its_place_is_a_reset(registry: LabRegistry, tmp_path: Path) -> None:
    """Also if the poll has not looked since the stream began: the stream's own look tells of which file it is."""
    change(registry, 2)
    other = tmp_path / "other.db"
    with contextlib.closing(LabRegistry(other)) as second:
        change(second, 5)

    async def main() -> None:
        follower = Follower(Registries(Where.of_file(registry.path)), Threads(), poll=0.001)
        stream = follower.follow(0)
        assert numbers(await anext(stream)) == [1, 2]
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"registry.db{suffix}").unlink(missing_ok=True)
        os.replace(other, registry.path)
        async with polling(follower):
            assert isinstance(await anext(stream), Reset)

    asyncio.run(main())


def test_a_client_that_takes_nothing_is_let_go_and_nothing_is_kept_for_it(registry: LabRegistry) -> None:
    """The stream's own send waits for the connection, and gives up; the log is read no further meanwhile."""
    change(registry, 10)

    async def main() -> int:
        async with following(registry.path) as follower:
            taken = 0

            async def events() -> AsyncIterator[str]:
                nonlocal taken
                async for page in follower.follow(0):
                    for each in page if not isinstance(page, Reset) else []:
                        taken += 1
                        yield str(each.sequence)

            place = contextlib.ExitStack()
            response = streams.stream(events(), place, patience=0.001)

            async def send(message: dict[str, object]) -> None:
                if message["type"] == "http.response.body":
                    await asyncio.Event().wait()  # a connection whose other end reads no more

            async def receive() -> dict[str, object]:
                return await asyncio.Event().wait()  # type: ignore[return-value]

            with pytest.raises(BaseException) as ended:  # noqa: PT011 - what the library raises is a group of it
                await response({"type": "http", "method": "GET"}, receive, send)
            assert "SendTimeoutError" in repr(ended.value)
            assert follower._listeners == 0
            return taken

    assert asyncio.run(main()) == 1
