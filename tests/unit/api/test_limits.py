"""What a slow or greedy client may take of the server: time for a head, time and bytes for a body and an answer.

The real protocol and gate, with an application that only says how much it was sent; the times are made small.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from wgjit.api.caller import Caller
from wgjit.api.entrance import gate, pace, places, protocol
from wgjit.api.entrance.listener import Server
from wgjit.api.entrance.notices import Notices
from wgjit.api.entrance.places import Bounds, Places
from wgjit.api.entrance.tenure import Tenure
from wgjit.api.entrance.threads import Threads
from wgjit.api.server import _uvicorn
from wgjit.stores.entries import Author, Scope

SOON = 0.3
"""Seconds, in the place of the real limits."""

LARGE = 1 << 24
"""Bytes of an answer: more than the kernel keeps for a client that does not read."""

HEAD = b"POST /v1/peers HTTP/1.1\r\nHost: wgjit\r\nContent-Type: application/json\r\n"
IMPORT = b"POST /v1/peers/import HTTP/1.1\r\nHost: wgjit\r\nContent-Type: application/x-ndjson\r\n"


class Everybody:
    """Lets all in."""

    async def admit(self, _scope: Any) -> Caller:
        return Caller(Author("test"), Scope.ADMIN)


class Anything:
    """Needs no scope."""

    def of(self, _scope: Any) -> None:
        return None


async def measure(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes in the body."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/v1/find":
        size = LARGE
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(str(size)))]})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIME", SOON)
    monkeypatch.setattr(protocol, "WRITE_TIME", SOON)
    monkeypatch.setattr(pace, "BODY_TIME", SOON)
    monkeypatch.setattr(pace, "IMPORT_LEAST", 1)


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - of the talk before
        listener.bind(str(path))
        listener.setblocking(False)
        threads = Threads()
        app = gate.Gate(measure, Anything(), Everybody(), threads, Tenure(threads))  # type: ignore[arg-type]
        counted = Places(Bounds(unproven=3, of_source=3, proven=3, of_caller=3))
        one = Server(_uvicorn(app), listener, None, counted, Notices())
        running = asyncio.create_task(one.serve())
        while not one.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            one.should_exit = True
            await running


async def _talk(path: Path, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send the parts, and meanwhile read until the server hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answer = bytearray()

    async def read() -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                answer.extend(part)

    reading = asyncio.create_task(read())
    try:
        for part in parts:
            if reading.done():
                break
            with suppress(ConnectionError):
                writer.write(part)
                await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(10):
            await reading
    finally:
        writer.close()
    return bytes(answer)


def talk(tmp_path: Path, *parts: bytes, pause: float = 0.0) -> bytes:
    async def all_of_it() -> bytes:
        path = tmp_path / "socket"
        async with served(path):
            return await _talk(path, *parts, pause=pause)

    return asyncio.run(all_of_it())


@pytest.mark.parametrize("parts", [(), (b"GET /v1/co",), (HEAD,)])
def test_a_head_that_does_not_come_in_time_is_hung_up_on(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    assert talk(tmp_path, *parts) == b""


def test_a_head_that_drips_has_no_more_time_than_one_that_stands_still(tmp_path: Path) -> None:
    dripping = [HEAD, *[b"X-A: 1\r\n"] * 20, b"Content-Length: 0\r\nConnection: close\r\n\r\n"]
    assert talk(tmp_path, *dripping, pause=SOON / 10) == b""
    assert talk(tmp_path, *dripping).startswith(b"HTTP/1.1 200")  # the same, quickly


def test_a_body_that_does_not_come_in_time_is_told_so_and_hung_up_on(tmp_path: Path) -> None:
    answer = talk(tmp_path, HEAD + b"Content-Length: 10\r\n\r\n", b"{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"urn:wgjit:problem:too-slow" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_that_drips_has_no_more_time_than_one_that_stands_still(tmp_path: Path) -> None:
    body = [HEAD + b"Content-Length: 20\r\nConnection: close\r\n\r\n", *[b" "] * 20]
    assert talk(tmp_path, *body, pause=SOON / 10).startswith(b"HTTP/1.1 408")
    assert talk(tmp_path, *body).startswith(b"HTTP/1.1 200")


def test_an_import_may_take_long_but_not_stand_still(tmp_path: Path) -> None:
    lines = [IMPORT + b"Content-Length: 20\r\nConnection: close\r\n\r\n", *[b"\n"] * 20]
    assert talk(tmp_path, *lines, pause=SOON / 10).endswith(b"\r\n\r\n20")
    assert talk(tmp_path, *lines[:10]).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("head", [b"Content-Length: 262145\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(tmp_path: Path, head: bytes) -> None:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    parts = [HEAD + b"Connection: close\r\n" + head, *([chunk] * 17 if b"chunked" in head else [])]
    answer = talk(tmp_path, *parts)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"urn:wgjit:problem:too-large" in answer


def test_an_import_that_drips_does_not_come_by_as_slow_as_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "IMPORT_LEAST", 100)
    lines = [IMPORT + b"Content-Length: 20\r\nConnection: close\r\n\r\n", *[b"\n"] * 20]
    assert talk(tmp_path, *lines, pause=SOON / 10).startswith(b"HTTP/1.1 408")
    assert talk(tmp_path, *lines).endswith(b"\r\n\r\n20")  # the same, quickly


def test_an_answer_that_is_not_taken_in_time_is_given_up(tmp_path: Path) -> None:
    """It would be held in memory for as long as its client likes."""

    async def all_of_it() -> tuple[int, bytes]:
        path = tmp_path / "socket"
        async with served(path):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 16)
            writer.write(b"GET /v1/find HTTP/1.1\r\nHost: wgjit\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(3 * SOON)  # the whole of its time: this client reads nothing
            with suppress(ConnectionError):
                rest = 0
                while part := await reader.read(1 << 20):
                    rest += len(part)
            writer.close()
            return rest, head

    taken, head = asyncio.run(all_of_it())
    assert head.startswith(b"HTTP/1.1 200")
    assert taken < LARGE


def test_who_is_one_too_many_is_hung_up_on_and_the_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LEAST", 60.0)
    monkeypatch.setattr(places, "KNOWN", 60.0)
    monkeypatch.setattr(protocol, "HEAD_TIME", 60.0)
    whole = HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n"

    async def all_of_it() -> None:
        path = tmp_path / "socket"
        async with served(path):
            first = [await asyncio.open_unix_connection(str(path)) for _ in range(3)]
            assert await _talk(path, whole) == b""
            first[0][1].write(whole)
            assert (await first[0][0].read()).startswith(b"HTTP/1.1 200")
            first[0][1].close()
            async with asyncio.timeout(60):  # its end is seen here before it is counted there
                while not (answer := await _talk(path, whole)):
                    pass
            assert answer.startswith(b"HTTP/1.1 200")
            for _, writer in first[1:]:
                writer.close()

    asyncio.run(all_of_it())


def test_who_said_nothing_for_long_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LEAST", 0.0)
    monkeypatch.setattr(places, "KNOWN", 0.0)
    monkeypatch.setattr(protocol, "HEAD_TIME", 60.0)
    whole = HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n"

    async def all_of_it() -> None:
        path = tmp_path / "socket"
        async with served(path):
            first = [await asyncio.open_unix_connection(str(path)) for _ in range(3)]
            assert (await _talk(path, whole)).startswith(b"HTTP/1.1 200")
            assert await first[0][0].read() == b""
            for _, writer in first:
                writer.close()

    asyncio.run(all_of_it())
