"""The listening socket: what accept fails with is told once, nothing spins, and nothing is kept of who is gone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.certificate import make_certificate
from wgjit.api import server
from wgjit.api.entrance import descriptors, listener
from wgjit.api.entrance.listener import Listener, Server
from wgjit.api.entrance.notices import Notices
from wgjit.api.entrance.places import Bounds, Place, Places
from wgjit.api.entrance.protocol import Protocol
from wgjit.errors import ConfigError

MANY = Bounds(unproven=1000, of_source=1000, proven=10, of_caller=10)


class Exhausted(socket.socket):
    """Says that there is no descriptor left, as often as it is asked."""

    asked = 0
    after = 0
    """So many times; then it is as any other."""
    told: Callable[[], None] = staticmethod(lambda: None)

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        self.told()
        if self.asked > self.after:
            return super().accept()
        raise OSError(errno.EMFILE, "too many open files")


def nobody(_: Place) -> Protocol:
    raise AssertionError("nobody is let in")


def exhausted(after: int) -> tuple[Exhausted, socket.socket]:
    """A listening socket, and a client that waits there."""
    made = Exhausted(socket.AF_INET, socket.SOCK_STREAM)
    made.after = after
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    made.listen()
    return made, socket.create_connection(made.getsockname())


def test_accept_is_not_tried_again_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        listening, client = exhausted(1 << 30)
        one = Listener(listening, None, Places(MANY), Notices(), nobody)
        one.start()
        for _ in range(1000):  # turns of the event loop, in each of which the client is there to be accepted
            await asyncio.sleep(0)
        one.close()
        client.close()
        assert listening.asked == 1

    asyncio.run(main())
    assert "cannot be accepted" in capsys.readouterr().out


def test_failing_accepts_are_told_once_and_it_goes_on_when_they_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listener, "PAUSE", 0.0)

    async def main() -> int:
        listening, client = exhausted(200)
        places, notices, entered = Places(MANY), Notices(), asyncio.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        one = Listener(listening, context, places, notices, nobody)
        one.start()

        def told() -> None:
            if listening.asked > 200:  # it is accepted now, and let in in this turn of the event loop
                asyncio.get_running_loop().call_soon(entered.set)

        listening.told = told  # type: ignore[method-assign]
        await entered.wait()
        assert places.taken == (1, 0)
        one.close()
        client.close()
        assert places.taken == (0, 0)
        return notices.counts.total()

    assert asyncio.run(main()) == 200
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_nothing_is_kept_of_handshakes_that_failed(tmp_path: Path) -> None:
    """They would only be free when Python looks for circles: thousands of them, with their buffers."""
    make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("nothing is asked")

    async def main() -> int:
        loop = asyncio.get_running_loop()
        places, made = Places(MANY), list[weakref.ref[Protocol]]()

        class Watched(Server):
            def _protocol(self, place: Place) -> Protocol:
                protocol = super()._protocol(place)
                made.append(weakref.ref(protocol))
                return protocol

        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.setblocking(False)
            one = Watched(server._uvicorn(app), listening, context, places, Notices())
            running = loop.create_task(one.serve())
            while not one.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            gc.collect()
            gc.disable()
            try:
                for number in range(30):
                    reader, writer = await asyncio.open_connection(*listening.getsockname())
                    if number % 3:
                        writer.write(b"\x16\x03\x01\x02\x00\x01" if number % 3 == 1 else b"GET / HTTP/1.1\r\n\r\n")
                        await writer.drain()
                    if number % 3 == 2:
                        with contextlib.suppress(ConnectionError):
                            await reader.read()
                    writer.close()
                while places.taken != (0, 0):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await asyncio.sleep(0)
                left = sum(each() is not None for each in made)
            finally:
                gc.enable()
            one.should_exit = True
            await running
            return left

    assert asyncio.run(main()) == 0


def test_the_server_leaves_signals_to_its_caller() -> None:
    """uvicorn's own handler has sse-starlette cut streams off as they are being ended; it seldom wins."""
    with socket.socket() as listening:
        one = Server(server._uvicorn(None), listening, None, Places(MANY), Notices())
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        with one.capture_signals():
            assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_what_is_kept_back_comes_before_tcp() -> None:
    least = descriptors.tcp_connections(1024, 22, 8, 256)
    assert descriptors.LEAST_TCP <= least < 1024 - descriptors.MOST_UNIX - 256
    assert descriptors.tcp_connections(1 << 20, 22, 8, 256) == descriptors.MOST_TCP
    with pytest.raises(ConfigError, match="500 open files are too few"):
        descriptors.tcp_connections(500, 22, 8, 256)
    assert server.UNIX_BOUNDS.unproven + server.UNIX_BOUNDS.proven == descriptors.MOST_UNIX
