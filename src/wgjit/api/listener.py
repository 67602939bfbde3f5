"""Connections let in: each is counted before anything is spent on it, TLS least of all.

asyncio's own server makes a TLS connection of whatever it accepts, counts nothing, and writes a traceback for each time
that it could not accept: with 1,200 connections that say nothing, hundreds of megabytes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from asyncio import sslproto
from collections.abc import Callable
from functools import partial

import uvicorn

from wgjit.api.caller import source_of_host
from wgjit.api.notices import Notices
from wgjit.api.places import Place, Places
from wgjit.api.protocol import HEAD_TIME, Protocol, uid_of

BACKLOG = 1024
"""Connections that the kernel keeps for us until we look."""

AT_ONCE = 64
"""Connections looked at before others get their turn on the event loop."""

PAUSE = 0.5
"""Seconds without accepting after it failed: the connection that waits would only make it fail again at once."""

_CLOSING = 5.0
"""Seconds for a TLS connection to take what is left and to say goodbye."""

_TLS_BUFFER = 1 << 15
"""Bytes that asyncio reads at once from a TLS connection. It gives each a buffer of its own of this size, by default of
256 KiB: a thousand connections would hold as many megabytes of zeros. There is no other way to say so than this class
attribute; a record is 16 KiB at most."""

_PASSING = {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM}
"""What accept says of a connection that is gone already: the next one may be well (accept(2))."""


class Listener:
    """One listening socket, from `start` to `close`. It owns neither the socket nor what it counts by."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext | None,
        places: Places,
        notices: Notices,
        make: Callable[[Place], Protocol],
    ) -> None:
        self._socket = listening
        self._context = context
        self._places = places
        self._notices = notices
        self._make = make
        self._handshakes: set[asyncio.Task[object]] = set()
        self._is_tcp = listening.family != socket.AF_UNIX
        self._resuming: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Let connections in from now on."""
        if self._context is not None:
            sslproto.SSLProtocol.max_size = _TLS_BUFFER
        self._loop = asyncio.get_running_loop()
        self._socket.listen(BACKLOG)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Let nobody in any more; who is still in a handshake is hung up on."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        if self._resuming is not None:
            self._resuming.cancel()
        self._socket.close()
        for task in self._handshakes:
            task.cancel()

    async def wait_closed(self) -> None:
        """Nothing goes on behind `close`; uvicorn asks."""

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                self._pause(error)
                return
            self._let_in(accepted, address)

    def _let_in(self, accepted: socket.socket, address: object) -> None:
        assert self._loop is not None
        accepted.setblocking(False)
        source = source_of_host(address[0]) if isinstance(address, tuple) else f"uid {uid_of(accepted)}"
        place = self._places.enter(source, time.monotonic(), accepted.close)
        if isinstance(place, str):
            accepted.close()
            self._notices.tell(
                "connections are refused: one address, or all together, have as many as they may",
                reason=place,
                source=source,
            )
            return
        handshake = self._loop.connect_accepted_socket(
            partial(self._make, place),
            accepted,
            ssl=self._context,
            ssl_handshake_timeout=None if self._context is None else HEAD_TIME,
            ssl_shutdown_timeout=None if self._context is None else _CLOSING,
        )
        task = self._loop.create_task(handshake)
        place.give_up = partial(_cancel, task)
        self._handshakes.add(task)
        task.add_done_callback(partial(self._shaken, place, accepted))

    def _shaken(self, place: Place, accepted: socket.socket, task: asyncio.Task[object]) -> None:
        self._handshakes.discard(task)
        if task.cancelled() or task.exception() is not None:
            accepted.close()  # if the task was ended before it began, nobody else does
            self._places.leave(place)

    def _pause(self, error: OSError) -> None:
        """Nothing more is accepted for a moment: whoever waits, waits in the kernel."""
        assert self._loop is not None
        self._loop.remove_reader(self._socket)
        self._resuming = self._loop.call_later(PAUSE, self._resume)
        self._notices.tell(
            "connections cannot be accepted; allow more open files (LimitNOFILE= of the service) or free memory",
            listener="TCP" if self._is_tcp else "Unix socket",
            error=os.strerror(error.errno or 0),
        )

    def _resume(self) -> None:
        assert self._loop is not None
        self._resuming = None
        self._loop.add_reader(self._socket, self._accept)


def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()


class Server(uvicorn.Server):
    """uvicorn's server on a listener of ours. Signals are its caller's: there are two servers, and streams to be ended
    first."""

    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        context: ssl.SSLContext | None,
        places: Places,
        notices: Notices,
    ) -> None:
        super().__init__(config)
        self.places = places
        self._listener = Listener(listening, context, places, notices, self._protocol)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await self.lifespan.startup()
        self._listener.start()
        self.servers = [self._listener]  # type: ignore[list-item]
        self.started = True

    def _protocol(self, place: Place) -> Protocol:
        return Protocol(
            self.places,
            place,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
