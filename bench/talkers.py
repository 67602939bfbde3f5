"""Clients of a fleet that talk all the time, many in one process: who answers, and for how long nobody does.

Each sends an echo through its session again and again, and notes the replies. It does what the kernel's client does if
no answer comes: 15 s after the first data that nothing was heard since, it knocks, and again every 5 s (timers.c). It
takes a call, an initiation of a gateway, at any time.
"""

from __future__ import annotations

import contextlib
import heapq
import ipaddress
import itertools
import random
import select
import socket
import time
from collections.abc import Sequence
from ipaddress import IPv4Network

from bench.load.client import Client, Event, Identity
from bench.load.tunnel import open_data, receiver_of
from lab.background import Background
from lab.fleet.member import INSIDE, PORT, SERVICE
from lab.netns import Namespace
from wgjit.model import PublicKey

SILENCE = 15.0
"""Seconds without an answer after which a client knocks (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT), and up to a third more."""
RETRY = 5.0
"""Seconds between two knocks without an answer (REKEY_TIMEOUT)."""
TOO_SLOW = 0.2
"""Seconds by which this process may be late with a client's echo. Beyond that the figures are its own."""
PADDING = bytes(96)
"""Data of an echo, so that one has as many bytes as an initiation."""


class Talker(Client):
    """A client, and when it has heard what. Times are monotonic seconds."""

    def __init__(self, number: int, identity: Identity, gateway: PublicKey, inside: str = INSIDE) -> None:
        super().__init__(number, identity, gateway, ipaddress.ip_address(inside))
        self.replies: list[float] = []
        """When a reply came."""
        self.unanswered: float | None = None
        """When the first data was sent since anything was heard."""
        self.knocked = 0.0
        self.patience = SILENCE
        self.knocks: list[float] = []
        self.calls: list[float] = []
        """When a call was taken."""

    def speak(self, now: float) -> bytes | None:
        """The next echo; None without a session."""
        if self._session is None or self._echo is None:
            return None
        if self.unanswered is None:
            self.unanswered, self.patience = now, SILENCE + random.uniform(0, 1 / 3)
        request = self._echo.request
        longer = (len(request) + len(PADDING)).to_bytes(2, "big")
        head = request[:2] + longer + request[4:10]
        total = sum(int.from_bytes((head + bytes(2) + request[12:20])[at : at + 2], "big") for at in range(0, 20, 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return self._seal(head + (~total & 0xFFFF).to_bytes(2, "big") + request[12:] + PADDING)

    def wants_to_knock(self, now: float) -> bool:
        """Whether it is time for an initiation: there is no session, or it has had no answer for long."""
        if now - self.knocked < RETRY:
            return False
        return self._session is None or (self.unanswered is not None and now - self.unanswered >= self.patience)

    def initiation(self, now: float) -> bytes:
        """A knock."""
        self.knocked = now
        self.knocks.append(now)
        self.begin(now)
        return self.knock(now, time.time_ns())

    def _initiation(self, message: bytes) -> tuple[Event, bytes | None]:
        event, reply = super()._initiation(message)
        if reply is not None:
            self.calls.append(time.monotonic())
        return event, reply

    def _data(self, message: bytes, now: float) -> tuple[Event, bytes | None]:
        session = self._sessions.get(receiver_of(message) or 0)
        packet = None if session is None else open_data(session, message)
        if packet is not None:
            self.unanswered = None
            if self._echo is not None and self._echo.is_reply(packet):
                self.replies.append(now)
        return super()._data(message, now)

    def silence(self, since: float, until: float) -> float:
        """The longest pause between two replies that has an end after `since`; it may go on until `until`."""
        before = [at for at in self.replies if at <= since]
        after = [at for at in self.replies if since < at <= until]
        moments = [before[-1] if before else since, *after, *([] if after else [until])]
        return max(b - a for a, b in itertools.pairwise(moments))


class Talkers(Background):
    """Talkers on one machine, each with an address of its own. A context manager: they talk while it is open."""

    def __init__(self, machine: Namespace, prefix: IPv4Network, talkers: Sequence[Talker], every: float) -> None:
        """`prefix`: addresses that are all the machine's. `every`: seconds between two echoes of one of them."""
        super().__init__()
        self.talkers = talkers
        self.lag = 0.0
        """Seconds by which an echo left too late at most, since this was set back: this process is too slow then."""
        self._every = every
        self._poll = select.epoll()
        self._by_descriptor: dict[int, tuple[Talker, socket.socket]] = {}
        sockets = machine.call(lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in talkers])
        for number, (talker, udp) in enumerate(zip(talkers, sockets, strict=True), start=1):
            udp.setblocking(False)
            udp.bind((str(prefix[number]), PORT))
            udp.connect((SERVICE, PORT))
            self._by_descriptor[udp.fileno()] = talker, udp
            self._poll.register(udp, select.EPOLLIN)

    def _close(self) -> None:
        self._poll.close()
        for _, udp in self._by_descriptor.values():
            udp.close()

    def all_talk(self, since: float) -> bool:
        """Whether all have had a reply since this moment."""
        return all(talker.replies and talker.replies[-1] > since for talker in self.talkers)

    def knocks(self) -> list[int]:
        """How often each has knocked by itself so far."""
        return [len(talker.knocks) for talker in self.talkers]

    def knocked_since(self, before: Sequence[int]) -> int:
        """How many have knocked since this was `knocks`."""
        return sum(len(talker.knocks) > count for talker, count in zip(self.talkers, before, strict=True))

    def lateness(self) -> str:
        """What to say if this process was too slow, so that the figures are its own; else nothing."""
        return f"; TOO SLOW: echoes left {self.lag:.1f} s late" if self.lag > TOO_SLOW else ""

    def _run(self) -> None:
        start = time.monotonic()
        step = self._every / max(1, len(self.talkers))
        due = [(start + number * step, descriptor) for number, descriptor in enumerate(self._by_descriptor)]
        heapq.heapify(due)
        while not self._done.is_set():
            now = time.monotonic()
            while due and due[0][0] <= now:
                at, descriptor = due[0]
                self.lag = max(self.lag, now - at)
                heapq.heapreplace(due, (max(at + self._every, now), descriptor))
                talker, udp = self._by_descriptor[descriptor]
                if talker.wants_to_knock(now):
                    self._send(udp, talker.initiation(now))
                if (message := talker.speak(now)) is not None:
                    self._send(udp, message)
            for descriptor, _ in self._poll.poll(max(0.0, due[0][0] - time.monotonic()), 64):
                talker, udp = self._by_descriptor[descriptor]
                try:
                    message = udp.recv(2048)
                except OSError:  # nothing, or nobody listens at the gateway
                    continue
                if (reply := talker.take(message, time.monotonic())[1]) is not None:
                    self._send(udp, reply)

    @staticmethod
    def _send(udp: socket.socket, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the network is away
            udp.send(message)
