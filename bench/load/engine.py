"""The clock of the load: who begins when, who tries again, who is given up; one thread, one epoll.

Open-loop: a client begins at its intended time, whatever became of those before it, and its latencies count from then,
so that a gateway which stalls is not spared the clients who would have come meanwhile (coordinated omission). Tries
follow each other as the kernel's do: 5 s and up to a third of a second after the last one, for 90 s.
"""

from __future__ import annotations

import gc
import heapq
import resource
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from random import Random
from typing import Final

from bench.load.client import Client, Connect, Event
from bench.load.result import Result, summarize
from wgjit.model import Endpoint

# messages.h, timers.c
REKEY_TIMEOUT: Final = 5.0
JITTER: Final = 1 / 3
REKEY_ATTEMPT_TIME: Final = 90.0
KEEPALIVE_TIMEOUT: Final = 10.0

ECHO_AGAIN: Final = 1.0
"""Seconds after which an echo without a reply is sent again: data may be lost under load as anywhere."""
_BURST: Final = 64
"""What is due, and what has come, is worked off in turns of so many."""
_IDLE: Final = 1.0
"""Seconds to wait for a packet when nothing at all is due."""
_FINE: Final = 0.004
"""Seconds below which a wait is cut to the microsecond."""
_LEAD: Final = 0.05
"""Seconds from the start of the clock to the first intended time."""


class _Due(Enum):
    BEGIN = auto()
    RETRY = auto()
    ECHO = auto()
    KEEPALIVE = auto()
    GIVE_UP = auto()


class Load:
    """Clients, each with its socket, and one server. To be run once."""

    def __init__(
        self,
        clients: Sequence[Client],
        sockets: Sequence[socket.socket],
        server: Endpoint,
        *,
        verify: bool = True,
        random: Random | None = None,
        strict: bool = False,
    ) -> None:
        """`verify` as the clients have it; `random` for the jitter of tries.

        Clients that follow each other may have the same socket: what comes is for the one that began last.

        A server that has several addresses may answer from another one, and is followed there as the kernel follows
        it. With `strict` what comes from anywhere but `server` is dropped, so that nothing is sent anywhere else.
        """
        if len(clients) != len(sockets):
            raise ValueError(f"{len(clients)} clients and {len(sockets)} sockets: each needs one")
        self._clients = clients
        self._sockets = sockets
        self._owner: dict[int, int] = {}
        """Which client has a socket, by its descriptor."""
        self._target = (server.host, server.port)
        self._verify = verify
        self._strict = strict
        self._random = random or Random()
        self._connects: list[Connect] = []
        self._heap: list[tuple[float, int, _Due, int, Connect | None, int]] = []
        """When, a running number, what, which client; for which connect, at which attempt or echo of it."""
        self._count = 0
        self._unsettled = 0
        """Connects to begin, or that are neither up nor given up: the run lasts as long."""
        self._unsent = 0
        self._patience = REKEY_ATTEMPT_TIME
        self._rekey_every: float | None = None
        self._rekeying = len(clients)
        self._until = 0.0

    @property
    def connects(self) -> Sequence[Connect]:
        """All that were begun, in this order."""
        return self._connects

    def prepare(self, initiations: int = 1) -> None:
        """Make so many initiations of each client now: on one CPU, making them blurs what is measured."""
        for _ in range(initiations):
            for client in self._clients:
                client.prepare(time.time_ns())

    def run(
        self,
        starts: Sequence[float],
        *,
        patience: float = REKEY_ATTEMPT_TIME,
        rekey_every: float | None = None,
        rekeying: int | None = None,
        seconds: float = 0.0,
    ) -> Result:
        """Let client n begin `starts[n]` seconds after the start; ends when all are up or given up.

        `patience`: seconds that a connect may take. With `rekey_every`, in seconds, who came up begins anew so long
        after its intended time, if that is within `seconds` of the start; `rekeying`: only so many clients do,
        the first.
        """
        if len(starts) != len(self._clients):
            raise ValueError(f"{len(starts)} starts for {len(self._clients)} clients: each needs one")
        self._patience, self._rekey_every = patience, rekey_every
        self._rekeying = len(self._clients) if rekeying is None else rekeying
        self._owner = {one.fileno(): number for number, one in enumerate(self._sockets)}
        with _calm(), select.epoll(max(1, len(self._owner))) as poll:
            for descriptor in self._owner:
                poll.register(descriptor, select.EPOLLIN)
            before = resource.getrusage(resource.RUSAGE_SELF)
            zero = time.monotonic() + _LEAD
            self._until = zero + seconds
            for number, start in enumerate(starts):
                self._begin_at(zero + start, number)
            self._work(poll)
            ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        return summarize(
            len(self._clients),
            self._connects,
            began=zero,
            seconds=ended - zero,
            cpu=(after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime),
            unsent=self._unsent,
            verified=self._verify,
        )

    def _work(self, poll: select.epoll) -> None:
        heap = self._heap
        while self._unsettled:
            now = time.monotonic()
            for _ in range(_BURST):
                if not heap or heap[0][0] > now:
                    break
                self._fire(heapq.heappop(heap), now)
            wait = max(0.0, heap[0][0] - time.monotonic()) if heap else _IDLE
            if 0.0 < wait < _FINE:  # epoll's own timeout is in whole milliseconds, rounded up
                select.select([poll], [], [], wait)
                wait = 0.0
            for descriptor, _ in poll.poll(max(0.0, wait - _FINE / 2), _BURST):
                self._read(self._owner[descriptor])

    # --- what is due ------------------------------------------------------------------------------------------

    def _at(self, due: float, what: _Due, number: int, connect: Connect | None = None, token: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, what, number, connect, token))

    def _begin_at(self, due: float, number: int) -> None:
        self._unsettled += 1
        self._at(due, _Due.BEGIN, number)

    def _fire(self, entry: tuple[float, int, _Due, int, Connect | None, int], now: float) -> None:
        due, _, what, number, connect, token = entry
        client = self._clients[number]
        if what is _Due.BEGIN:
            self._owner[self._sockets[number].fileno()] = number
            connect = client.begin(due, is_first=client.connect is None)
            self._connects.append(connect)
            self._at(due + self._patience, _Due.GIVE_UP, number, connect)
            self._knock(client, connect, now)
            return
        if what is _Due.KEEPALIVE:
            self._send(number, client.keepalive(), self._target)
            return
        if connect is None or client.connect is not connect or connect.up is not None or connect.given_up:
            return
        if what is _Due.GIVE_UP:
            connect.given_up = True
            self._unsettled -= 1
        elif what is _Due.RETRY and connect.responded is None and connect.attempts == token:
            self._knock(client, connect, now)
        elif what is _Due.ECHO and connect.echoes == token:
            self._send(number, client.again(), self._target)
            self._at(now + ECHO_AGAIN, _Due.ECHO, number, connect, connect.echoes)

    def _knock(self, client: Client, connect: Connect, now: float) -> None:
        self._send(client.number, client.knock(now, time.time_ns()), self._target)
        after = REKEY_TIMEOUT + self._random.uniform(0.0, JITTER)
        self._at(now + after, _Due.RETRY, client.number, connect, connect.attempts)

    # --- what came --------------------------------------------------------------------------------------------

    def _read(self, number: int) -> None:
        try:
            message, source = self._sockets[number].recvfrom(2048)
        except OSError:  # nothing there any more, or an ICMP error for what was sent: a lost packet
            return
        if self._strict and source[:2] != self._target:
            return
        client, now = self._clients[number], time.monotonic()
        event, reply = client.take(message, now)
        self._send(number, reply, source[:2])
        connect = client.connect
        if connect is None or connect.given_up:
            return
        if event is Event.AGREED:
            self._at(now + ECHO_AGAIN, _Due.ECHO, number, connect, connect.echoes)
        elif event is Event.UP:
            self._unsettled -= 1
            if self._verify:  # it has had data: without a word of it within 15 s the gateway would knock
                self._at(now + KEEPALIVE_TIMEOUT, _Due.KEEPALIVE, number)
            if self._rekey_every is not None and number < self._rekeying:
                again = connect.intended + self._rekey_every
                if again <= self._until:
                    self._begin_at(again, number)

    def _send(self, number: int, message: bytes | None, target: tuple[str, int]) -> None:
        if message is not None:
            try:
                self._sockets[number].sendto(message, target)
            except OSError:  # a full buffer, an ICMP error for an earlier one, no route: a lost packet
                self._unsent += 1


@contextmanager
def _calm() -> Iterator[None]:
    """No garbage collection meanwhile: with thousands of clients one takes longer than many connects."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
