"""The gateway's side of its control socket. `control.socket` describes the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from wgjit.control.socket import socket_path
from wgjit.control.status import GatewayStatus
from wgjit.daemon.feed_hub import FeedHub, Subscription
from wgjit.errors import ConfigError, InvalidValue, WgjitError
from wgjit.wire.key_text import without_keys

PATIENCE = 5.0
"""Seconds within which a client must send its question."""

CHUNK, MOST = 1024, 4096
"""Bytes that are read at once of what a client says after its question, and in all: then the gateway hangs up."""


class ControlServer:
    """Serves the control socket while the gateway runs."""

    def __init__(
        self,
        interface: str,
        status: Callable[[], Awaitable[GatewayStatus]],
        feed: FeedHub,
        verbs: Mapping[str, Callable[[], AsyncIterator[Mapping[str, Any]]]] | None = None,
    ) -> None:
        """`verbs`: what else may be asked, each with a function that gives the answers."""
        self._path = socket_path(interface)
        self._status = status
        self._feed = feed
        self._verbs = verbs or {}
        self._server: asyncio.Server | None = None
        self._made: os.stat_result | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ControlServer:
        try:
            self._clear()
            mask = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._serve, self._path)
            finally:
                os.umask(mask)
            self._made = os.stat(self._path, follow_symlinks=False)
        except OSError as error:
            raise ConfigError(f"control socket {self._path}: {error}; set WGJIT_RUN_FOLDER to another folder") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with suppress(OSError):  # another file in the socket's place stays; so does a socket that cannot be removed
            if self._made and os.path.samestat(self._made, os.stat(self._path, follow_symlinks=False)):
                self._path.unlink()

    def _clear(self) -> None:
        """Remove the socket of a killed gateway. This is safe, since this process holds the interface's lock. Raises
        OSError, and ConfigError if the file is no socket, since then it is not from a gateway."""
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(self._path, follow_symlinks=False).st_mode):
                raise ConfigError(
                    f"control socket {self._path}: is there and is no socket; remove it, or set WGJIT_RUN_FOLDER to "
                    "another folder"
                )
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client closed the connection, or the gateway is ending
        except WgjitError as error:
            await self._complain(writer, str(error), type(error).__name__)
        except (ValueError, RecursionError, TimeoutError):
            await self._complain(writer, 'write {"ask": "status"} and a newline; also health, feed, drain, undrain')
        except Exception as error:
            await self._complain(writer, without_keys(repr(error)), type(error).__name__)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = json.loads(await asyncio.wait_for(reader.readline(), timeout=PATIENCE))
        match question.get("ask") if isinstance(question, dict) else None:
            case "status":
                await _send(writer, (await self._status()).as_dict())
            case "feed":
                await self._stream(reader, writer)
            case str(verb) if verb in self._verbs:
                answers = self._verbs[verb]()
                await _send(writer, await anext(answers))  # also to a client that says nothing more (`nc -N`)
                await _until_hung_up(reader, _send_each(writer, answers))
            case _:
                raise ValueError

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subscription = self._feed.subscribe()
        try:
            await _until_hung_up(reader, _send_all(writer, subscription))
        finally:
            subscription.close()

    @staticmethod
    async def _complain(writer: asyncio.StreamWriter, error: str, kind: str = "InvalidValue") -> None:
        with suppress(ConnectionError):
            await _send(writer, {"error": error, "kind": kind})


async def _hear_out(reader: asyncio.StreamReader) -> None:
    """Wait until the client hangs up. Raises InvalidValue for one that goes on talking: nobody reads that."""
    heard = 0
    while chunk := await reader.read(CHUNK):
        heard += len(chunk)
        if heard > MOST:
            raise InvalidValue(f"a client asks one question and says at most {MOST} bytes more; it has said more")


async def _until_hung_up(reader: asyncio.StreamReader, work: Coroutine[Any, Any, None]) -> None:
    """Do this until it is done or the client hangs up. Raises what it raises, and what `_hear_out` raises."""
    sends, hangs_up = asyncio.ensure_future(work), asyncio.ensure_future(_hear_out(reader))
    try:
        await asyncio.wait((sends, hangs_up), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for half in (sends, hangs_up):
            half.cancel()
        await asyncio.gather(sends, hangs_up, return_exceptions=True)
    for half in (sends, hangs_up):
        if not half.cancelled():
            half.result()


async def _send_each(writer: asyncio.StreamWriter, answers: AsyncIterator[Mapping[str, Any]]) -> None:
    async for answer in answers:
        await _send(writer, answer)


async def _send_all(writer: asyncio.StreamWriter, subscription: Subscription) -> None:
    await _send(writer, {"feed": "open"})
    async for record in subscription:
        await _send(writer, record.as_dict())


async def _send(writer: asyncio.StreamWriter, value: Mapping[str, Any]) -> None:
    writer.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
    await writer.drain()
