"""Accepts connections. Each connection is counted before the server spends work on it, above all a TLS handshake.

asyncio's own server starts TLS on everything that it accepts, counts nothing, and writes a traceback each time that it
cannot accept. With 1,200 silent connections that makes hundreds of megabytes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from asyncio import sslproto
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import uvicorn

from wgjit.api.caller import source_of_host
from wgjit.api.entrance.notices import Notices
from wgjit.api.entrance.places import Place, Places, nothing
from wgjit.api.entrance.protocol import HEAD_TIME, Protocol, uid_of

BACKLOG = 1024
"""Connections that the kernel queues until the listener accepts them."""

SLICE = 0.001
"""Seconds of accepting in one go. Then other work gets its turn on the event loop."""

HANDSHAKES = 2
"""Handshakes begun in one turn of the event loop. Each costs about a millisecond, a few turns later."""

PAUSE = 0.5
"""Seconds without accepting after an error, because the waiting connection would cause the same error at once."""

_CLOSING = 5.0
"""Seconds for a TLS connection to take the remaining data and to close."""

_TLS_BUFFER = 1 << 15
"""Bytes that asyncio reads at once from a TLS connection. Each connection has a buffer of this size, and the default of
256 KiB would make 256 MB for a thousand connections. A TLS record is 16 KiB at most. The size can only be set by this
class attribute."""

_PASSING = {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM}
"""Errors of accept for a connection that is gone already. The next connection may be fine (accept(2))."""


class Listener:
    """One listening socket, from `start` to `close`. The caller owns `places` and `notices`.

    A TLS connection goes through three states: silent (only a socket and its place), spoke (it waits for its turn to
    begin a handshake; good sources come first), and in its handshake. After that it is a `Protocol`.
    """

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
        self._silent: dict[Place, tuple[socket.socket, asyncio.TimerHandle]] = {}
        self._spoke: tuple[OrderedDict[Place, socket.socket], OrderedDict[Place, socket.socket]]
        self._spoke = OrderedDict(), OrderedDict()
        self._handshakes: dict[asyncio.Task[tuple[object, Protocol]], socket.socket] = {}
        self._resuming: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to accept connections."""
        if self._context is not None:
            sslproto.SSLProtocol.max_size = _TLS_BUFFER
        self._loop = asyncio.get_running_loop()
        self._socket.listen(BACKLOG)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more connections, and end those without a finished handshake."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        if self._resuming is not None:
            self._resuming.cancel()
        self._socket.close()
        for place in [*self._silent, *self._spoke[0], *self._spoke[1]]:
            self._hang_up(place)
        for accepted in self._handshakes.values():
            _shut(accepted)

    async def wait_closed(self) -> None:
        """Does nothing, because nothing goes on after `close`. uvicorn calls it."""

    def _accept(self) -> None:
        end = time.monotonic() + SLICE
        while time.monotonic() < end:
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
        place = self._places.enter(source, time.monotonic(), nothing)
        if isinstance(place, str):
            accepted.close()
            self._notices.tell(
                "connections are refused: one address, or all together, have as many as they may",
                reason=place,
                source=source,
            )
        elif self._context is None:
            self._begin(place, accepted)
        else:
            place.give_up = partial(self._hang_up, place)
            self._silent[place] = accepted, self._loop.call_later(HEAD_TIME, self._hang_up, place)
            self._loop.add_reader(accepted, self._hear, place)

    def _hear(self, place: Place) -> None:
        """Queue a connection for its handshake, since it sent something (or is gone; then the handshake fails)."""
        assert self._loop is not None
        accepted, timer = self._silent.pop(place)
        timer.cancel()
        self._loop.remove_reader(accepted)
        if not any(self._spoke):
            self._loop.call_soon(self._begin_some)
        self._spoke[not self._places.is_good(place.source)][place] = accepted

    def _begin_some(self) -> None:
        """Begin a few handshakes, and go on in the event loop's next turn."""
        assert self._loop is not None
        for _ in range(HANDSHAKES):
            waiting = next(filter(None, self._spoke), None)
            if waiting is None:
                return
            self._begin(*waiting.popitem(last=False))
        self._loop.call_soon(self._begin_some)

    def _hang_up(self, place: Place) -> None:
        """End a connection that has not begun a handshake."""
        assert self._loop is not None
        if place in self._silent:
            accepted, timer = self._silent.pop(place)
            timer.cancel()
            self._loop.remove_reader(accepted)
        else:
            accepted = self._spoke[place not in self._spoke[0]].pop(place)
        accepted.close()
        self._places.leave(place)
        place.give_up = nothing

    def _begin(self, place: Place, accepted: socket.socket) -> None:
        assert self._loop is not None
        tls = self._context is not None
        left = max(0.1, HEAD_TIME - (time.monotonic() - place.since))
        connecting = self._loop.connect_accepted_socket(
            partial(self._make, place),
            accepted,
            ssl=self._context,
            ssl_handshake_timeout=left if tls else None,
            ssl_shutdown_timeout=_CLOSING if tls else None,
        )
        task = self._loop.create_task(connecting)
        # The task is not cancelled here. If cancelled early, asyncio forgets the socket but keeps watching it.
        place.give_up = partial(_shut, accepted)
        self._handshakes[task] = accepted
        task.add_done_callback(partial(self._shaken, place))

    def _shaken(self, place: Place, task: asyncio.Task[tuple[object, Protocol]]) -> None:
        accepted = self._handshakes.pop(task)
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or failure is not None or task.result()[1].transport is None:
            accepted.close()
            self._places.leave(place)
            place.give_up = nothing
        if failure is not None:  # breaks a reference cycle: the frames hold the connection, which holds the failure
            failure.__traceback__ = None

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a moment. New connections wait in the kernel."""
        assert self._loop is not None
        self._loop.remove_reader(self._socket)
        self._resuming = self._loop.call_later(PAUSE, self._resume)
        self._notices.tell(
            "connections cannot be accepted; allow more open files (LimitNOFILE= of the service) or free memory",
            listener="Unix socket" if self._context is None else "TCP",
            error=os.strerror(error.errno or 0),
        )

    def _resume(self) -> None:
        assert self._loop is not None
        self._resuming = None
        self._loop.add_reader(self._socket, self._accept)


def _shut(accepted: socket.socket) -> None:
    """End a connection that asyncio owns. asyncio then reads an end of file."""
    with suppress(OSError):
        accepted.shutdown(socket.SHUT_RDWR)


class Server(uvicorn.Server):
    """uvicorn's server on our own listener."""

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

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `wgjit.api.server`, which has two servers and ends the streams before them.

        uvicorn's own handler would also make sse-starlette cut streams off instead of ending them.
        """
        yield

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
