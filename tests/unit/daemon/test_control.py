"""The control socket, the feed over it, and the lock: one gateway per interface, and anybody may listen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.unit.daemon.conftest import until
from wgjit.control import client
from wgjit.control.client import listen
from wgjit.control.socket import socket_path
from wgjit.control.status import GatewayStatus
from wgjit.daemon.control import MOST, ControlServer
from wgjit.daemon.feed_hub import FeedHub
from wgjit.daemon.process.lock import interface_lock
from wgjit.errors import GatewayRunning, GatewayUnavailable, NotInFleet
from wgjit.model import Delivery, Endpoint, PrivateKey, Tai64n
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    return tmp_path


async def status() -> GatewayStatus:
    return GatewayStatus(interface="wgtest", residents=3)


RECORDS = [
    FeedRecord(
        time=1_800_000_000.25,
        source=Endpoint.parse("192.0.2.1:4000"),
        destination=Endpoint.parse("[2001:db8::1]:51820"),
        public_key=PrivateKey(b"\x01" * 32).public(),
        name="laptop",
        proven=True,
        timestamp=Tai64n.from_unix_ns(1_800_000_000_123_456_789),
        decision=Decision.INSTALLED,
        delivery=Delivery.HOLD,
        stages={"identify": 52.5, "total": 300.0},
    ),
    FeedRecord(None, None, None, refusal=Refusal.BAD_MAC1),
    FeedRecord(
        time=1.0,
        source=Endpoint.parse("[fe80::1%3]:0"),
        destination=Endpoint.parse("1.2.3.4:1"),
        timestamp=Tai64n(b"\xff" * 12),
    ),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_survives_the_line_of_json(record: FeedRecord) -> None:
    assert FeedRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record


def test_status_and_feed_over_the_socket() -> None:
    async def test() -> None:
        hub = FeedHub()
        async with ControlServer("wgtest", status, hub):
            assert stat.S_IMODE(os.stat(socket_path("wgtest")).st_mode) == 0o600
            assert await client.status("wgtest") == GatewayStatus(interface="wgtest", residents=3)
            records = await listen("wgtest")
            assert hub
            for record in RECORDS:
                hub.publish(record)
            assert [await anext(records) for _ in RECORDS] == RECORDS
            await records.aclose()  # type: ignore[attr-defined]
            await until(lambda: not hub)
        assert not socket_path("wgtest").exists()

    asyncio.run(asyncio.wait_for(test(), 120))


def test_other_questions_are_answered_with_one_line_or_several() -> None:
    async def count() -> AsyncIterator[Mapping[str, int]]:
        for number in range(3):
            yield {"number": number}

    async def forever() -> AsyncIterator[Mapping[str, int]]:
        try:
            while True:
                yield {"number": 0}
                await asyncio.sleep(3600)
        finally:
            ended.set()

    async def refuse() -> AsyncIterator[Mapping[str, int]]:
        raise NotInFleet("no fleet")
        yield {}

    async def test() -> None:
        async with ControlServer("wgtest", status, FeedHub(), {"count": count, "forever": forever, "no": refuse}):
            assert [answer["number"] async for answer in client.ask("wgtest", "count")] == [0, 1, 2]
            with pytest.raises(NotInFleet, match="wgtest: no fleet"):
                [answer async for answer in client.ask("wgtest", "no")]
            reader, writer = await asyncio.open_unix_connection(socket_path("wgtest"))
            writer.write(b'{"ask": "count"}\n')
            writer.write_eof()  # as a shell does that pipes the question in
            assert json.loads(await reader.readline()) == {"number": 0}
            writer.close()
            reader, writer = await asyncio.open_unix_connection(socket_path("wgtest"))
            writer.write(b'{"ask": "forever"}\n')
            assert json.loads(await reader.readline()) == {"number": 0}
            writer.close()
            await ended.wait()

    ended = asyncio.Event()
    asyncio.run(asyncio.wait_for(test(), 120))


def test_nonsense_on_the_socket_harms_nobody() -> None:
    async def test() -> None:
        async with ControlServer("wgtest", status, FeedHub()):
            for nonsense in (b"\n", b"[]\n", b"{\n", b'{"ask": 5}\n', b"\xff\xfe\n", b"x" * 100_000 + b"\n"):
                reader, writer = await asyncio.open_unix_connection(socket_path("wgtest"))
                writer.write(nonsense)
                answer = await reader.readline()
                assert answer == b"" or "error" in json.loads(answer)
                writer.close()
            assert await client.status("wgtest") == GatewayStatus(interface="wgtest", residents=3)

    asyncio.run(asyncio.wait_for(test(), 120))


@pytest.mark.parametrize("ask", ["feed", "forever"])
def test_who_talks_without_end_is_hung_up_on(ask: str) -> None:
    async def forever() -> AsyncIterator[Mapping[str, int]]:
        while True:
            yield {"number": 0}
            await asyncio.sleep(3600)

    async def test() -> None:
        hub = FeedHub()
        async with ControlServer("wgtest", status, hub, {"forever": forever}):
            reader, writer = await asyncio.open_unix_connection(socket_path("wgtest"))
            writer.write(json.dumps({"ask": ask}).encode() + b"\n")
            await reader.readline()
            writer.write(b"x" * MOST)  # so much may be said
            await writer.drain()
            assert await client.status("wgtest") == GatewayStatus(interface="wgtest", residents=3)
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x" * 65536)
                    await asyncio.wait_for(writer.drain(), 60)
            await until(lambda: not hub)
            writer.close()

    asyncio.run(asyncio.wait_for(test(), 120))


def test_who_says_a_little_more_goes_on_listening() -> None:
    async def test() -> None:
        hub = FeedHub()
        async with ControlServer("wgtest", status, hub):
            reader, writer = await asyncio.open_unix_connection(socket_path("wgtest"))
            writer.write(b'{"ask": "feed"}\n' + b"thank you\n" * 10)
            assert json.loads(await reader.readline()) == {"feed": "open"}
            hub.publish(RECORDS[0])
            assert FeedRecord.from_dict(json.loads(await reader.readline())) == RECORDS[0]
            writer.close()

    asyncio.run(asyncio.wait_for(test(), 120))


def test_nobody_there_is_a_clear_error() -> None:
    with pytest.raises(GatewayUnavailable, match="wgjit up wgtest"):
        asyncio.run(client.status("wgtest"))


def test_a_socket_left_by_a_killed_gateway_is_replaced(run_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(socket_path("wgtest")))

    async def test() -> None:
        async with ControlServer("wgtest", status, FeedHub()):
            assert await client.status("wgtest") == GatewayStatus(interface="wgtest", residents=3)

    asyncio.run(asyncio.wait_for(test(), 120))


def test_the_second_gateway_is_told_who_holds_the_interface() -> None:
    with interface_lock("wgtest"):
        with pytest.raises(GatewayRunning, match=f"process {os.getpid()}"), interface_lock("wgtest"):
            pass
        with interface_lock("wgother"):
            pass
    with interface_lock("wgtest"):
        pass
