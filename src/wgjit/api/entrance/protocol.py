"""HTTP/1.1 on one connection: uvicorn's protocol, with a time for each thing that its other end may be slow in.

Buffers are small, so that what many connections hold of memory is their number times a known size.
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
"""Seconds for a request's head to come in, from the connection (so with its TLS handshake) or the answer before on."""

WRITE_TIME = 30.0
"""Seconds for the other end to take what waits to be sent, as soon as that is more than `_BUFFER`."""

IDLE_TIME = 75
"""Seconds that a connection on which a valid token was shown may be idle between two requests; others, uvicorn's 5.

Longer than a gateway keeps it (60 s), so that the next client that knocks waits for no TLS handshake."""

_BUFFER = 1 << 16
"""Bytes that may wait in a connection, each way, before its other end is waited for."""


class Protocol(H11Protocol):
    """See the head of this file; it waits for nobody. `place` is its place among the connections."""

    def __init__(self, places: Places, place: Place, **named: Any) -> None:
        super().__init__(**named)
        self._places = places
        self._place = place
        self._head: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Its handshake is finished: note the user of a Unix socket, and what requests may ask of the connection."""
        super().connection_made(transport)
        self._place.give_up = transport.abort
        began, now = self._place.since, time.monotonic()
        self._places.shake(self._place, now)
        transport.set_write_buffer_limits(high=_BUFFER)
        if hasattr(transport, "set_read_buffer_limits"):  # of TLS
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
        """Nothing waits for it any more, and its place is free."""
        self._set_head(None)
        self._set_unsent(None)
        self._places.leave(self._place)
        super().connection_lost(exc)
        # Its memory is free at once, not when somebody looks for circles: strangers make thousands of them.
        self._place.give_up = nothing
        self.app_state = {}

    def data_received(self, data: bytes) -> None:
        """As uvicorn does; a head that is only begun has its time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._set_head(None)
        elif self._head is None and not self.transport.is_closing():
            self._set_head(self.loop.call_later(HEAD_TIME, self.transport.abort))

    def on_response_complete(self) -> None:
        """From now on the keep-alive timer counts."""
        self._set_head(None)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The other end has its time to take what is sent."""
        super().pause_writing()
        if self._unsent is None:
            self._set_unsent(self.loop.call_later(WRITE_TIME, self.transport.abort))

    def resume_writing(self) -> None:
        """It took it."""
        self._set_unsent(None)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets the same kind of answer as all else."""
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
        """As `Places.prove`; who has shown who they are keeps the connection for longer."""
        proven = self._places.prove(self._place, caller)
        if proven:
            self.timeout_keep_alive = IDLE_TIME
        return proven

    def _doubt(self) -> None:
        """As `Places.doubt`."""
        self._places.doubt(self._place, time.monotonic())
        self.timeout_keep_alive = self.config.timeout_keep_alive

    async def _drained(self) -> None:
        """Wait until the other end took what was sent, or is gone."""
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
    """The user at the other end of a Unix socket."""
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
