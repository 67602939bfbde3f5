"""Asks a running gateway on an event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from wgjit.control.asking import refusal
from wgjit.control.socket import socket_path
from wgjit.control.status import GatewayStatus
from wgjit.errors import ConfigError, GatewayUnavailable, NotPermitted
from wgjit.record import FeedRecord
from wgjit.wire.key_text import shown


async def listen(interface: str) -> AsyncIterator[FeedRecord]:
    """The running gateway's feed, from the moment that this returns. Raises GatewayUnavailable."""
    lines = await _connect(interface, "feed")
    async for line in lines:
        if line == {"feed": "open"}:
            return _records(lines)
    raise GatewayUnavailable(f"{interface}: the gateway hung up")


async def status(interface: str) -> GatewayStatus:
    """The running gateway's status. Raises GatewayUnavailable."""
    return _status(interface, await first(interface, "status"))


async def first(interface: str, question: str) -> dict[str, Any]:
    """The first answer to a question. Raises GatewayUnavailable, NotInFleet."""
    async with aclosing(ask(interface, question)) as answers:
        async for answer in answers:
            return answer
    raise GatewayUnavailable(f"{interface}: the gateway hung up without an answer")


async def ask(interface: str, question: str) -> AsyncGenerator[dict[str, Any], None]:
    """The answers to another question, as they come. Raises GatewayUnavailable, NotInFleet."""
    async with aclosing(await _connect(interface, question)) as lines:
        async for answer in lines:
            if "error" in answer:
                raise refusal(interface, answer)
            yield answer


def _status(interface: str, answer: dict[str, Any]) -> GatewayStatus:
    try:
        return GatewayStatus.from_dict(answer)
    except KeyError:
        raise GatewayUnavailable(
            f"{interface}: the gateway's answer is no status; start the gateway again with this version of wgjit"
        ) from None


async def _connect(interface: str, question: str) -> AsyncGenerator[dict[str, Any], None]:
    path = socket_path(interface)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        raise GatewayUnavailable(
            f"{shown(interface)}: no gateway runs on it; start one with `wgjit up {shown(interface)}`"
        ) from None
    except PermissionError:
        raise NotPermitted(f"{shown(path)}: permission denied; ask as the user that the gateway runs as") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error}") from None
    writer.write(json.dumps({"ask": question}).encode() + b"\n")
    return _lines(reader, writer)


async def _lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncGenerator[dict[str, Any], None]:
    try:
        while line := await reader.readline():
            yield json.loads(line)
    finally:
        writer.close()


async def _records(lines: AsyncIterator[dict[str, Any]]) -> AsyncIterator[FeedRecord]:
    async for line in lines:
        yield FeedRecord.from_dict(line)
