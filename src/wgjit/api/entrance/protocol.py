"""HTTP/1.1 on one connection: uvicorn's protocol, with a time limit for each step in which a client may be slow.

Buffers are small and have a known size, so the memory of many connections is bounded.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from wgjit.api.entrance.places import Place, Places, nothing
from wgjit.api.problems import Kind, Problem

HEAD_TIME = 10.0
"""Seconds for a request's head to arrive, counted from the accepted connection (TLS included) or the last answer."""

WRITE_TIME = 30.0
"""Seconds for the client to read the waiting data, from the moment when that is more than `_BUFFER`."""

IDLE_TIME = 75
"""Seconds that a connection with a valid token may be idle between two requests. Other connections get uvicorn's 5.

A gateway keeps its connection for 60 s. This is longer, so that a lookup for a knock rarely needs a TLS handshake."""

_BUFFER = 1 << 16
"""Bytes that may wait in a connection in each direction. Beyond that, the server waits for the client."""


class Protocol(H11Protocol):
    """uvicorn's protocol with time limits. `place` is the connection's place."""

    def __init__(self, places: Places, place: Place, **named: Any) -> None:
        super().__init__(**named)
        self._places = places
        self._place = place
        self._head: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Prepare a connection whose handshake is finished: its user (Unix socket), and its functions for requests."""
        super().connection_made(transport)
        self._place.give_up = transport.abort
        began, now = self._place.since, time.monotonic()
        self._places.shake(self._place, now)
        transport.set_write_buffer_limits(high=_BUFFER)
        if hasattr(transport, "set_read_buffer_limits"):  # only TLS transports have it
            transport.set_read_buffer_limits(high=_BUFFER)
        self.app_state = {
            **self.app_state,
            "prove": self._prove,
            "doubt": self._doubt,
            "drained": self._drained,
            "cut": transport.abort,
        }
        peer = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX:
            self.app_state["uid"] = uid_of(peer)
        self._head = self.loop.call_later(max(0.0, HEAD_TIME - (now - began)), transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers and free the connection's place."""
        self._set_head(None)
        self._set_unsent(None)
        self._places.leave(self._place)
        super().connection_lost(exc)
        # These cycles are broken here, so that memory is free at once: strangers make thousands of connections.
        self._place.give_up = nothing
        self.app_state = {}

    def data_received(self, data: bytes) -> None:
        """Pass data to uvicorn. A head that is only begun gets a time limit."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._set_head(None)
        elif self._head is None and not self.transport.is_closing():
            self._set_head(self.loop.call_later(HEAD_TIME, self.transport.abort))

    def on_response_complete(self) -> None:
        """Stop the head's timer, because the keep-alive timer counts from now on."""
        self._set_head(None)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the time limit in which the client has to read."""
        super().pause_writing()
        if self._unsent is None:
            self._set_unsent(self.loop.call_later(WRITE_TIME, self.transport.abort))

    def resume_writing(self) -> None:
        """Stop the time limit, because the client has read."""
        self._set_unsent(None)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem, like all other errors."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        response = Problem(Kind.MALFORMED, "this is not HTTP/1.1").response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers),
            h11.Data(bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _prove(self, caller: str) -> bool:
        """As `Places.prove`. A proven connection may also be idle for longer."""
        proven = self._places.prove(self._place, caller)
        if proven:
            self.timeout_keep_alive = IDLE_TIME
        return proven

    def _doubt(self) -> None:
        """As `Places.doubt`."""
        self._places.doubt(self._place, time.monotonic())
        self.timeout_keep_alive = self.config.timeout_keep_alive

    async def _drained(self) -> None:
        """Wait until the client has read what was sent, or is gone."""
        if self.flow.write_paused:
            await self.flow.drain()

    def _set_head(self, timer: asyncio.TimerHandle | None) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = timer

    def _set_unsent(self, timer: asyncio.TimerHandle | None) -> None:
        if self._unsent is not None:
            self._unsent.cancel()
        self._unsent = timer


def uid_of(peer: Any) -> int:
    """The user id of the process at the other end of a Unix socket."""
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
