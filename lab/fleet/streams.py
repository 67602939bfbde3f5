"""Downloads that go on: each client asks for block after block, and somebody behind the gateways answers.

A client asks again and again, whether the last block has come or not. So it notices for how long none comes.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Sequence

from lab.background import Background
from lab.fleet.member import INSIDE, Member
from lab.fleet.site import Traveller

PORT = 7000
BLOCK = bytes(1000)
REQUEST = bytes(120)
"""A request has as many bytes in the tunnel as the acknowledgement of a few packets."""


class Streams(Background):
    """The downloads of some clients, for the time of a `with`."""

    def __init__(self, members: Sequence[Member], clients: Sequence[Traveller], every: float = 0.05) -> None:
        """`every`: seconds between two requests of one client."""
        super().__init__()
        self._every = every
        self._replies: dict[Traveller, list[float]] = {client: [] for client in clients}
        self._poll = select.epoll()
        self._servers: dict[int, socket.socket] = {}
        self._clients: dict[int, tuple[Traveller, socket.socket]] = {}
        for member in members:
            server = member.namespace.socket()
            server.setblocking(False)
            server.bind((INSIDE, PORT))
            self._servers[server.fileno()] = server
        for client in clients:
            udp = client.namespace.socket()
            udp.setblocking(False)
            udp.bind((client.host, 0))
            self._clients[udp.fileno()] = client, udp
        for descriptor in (*self._servers, *self._clients):
            self._poll.register(descriptor, select.EPOLLIN)

    def _close(self) -> None:
        self._poll.close()
        for udp in (*self._servers.values(), *(udp for _, udp in self._clients.values())):
            udp.close()

    def all_since(self, moment: float) -> bool:
        """Whether each client has got a block since this moment, monotonic seconds."""
        return all(replies and replies[-1] > moment for replies in self._replies.values())

    def silences(self, since: float) -> list[float]:
        """For each client the longest pause between two blocks that has ended after this moment, seconds, in order."""
        found = []
        for replies in self._replies.values():
            first = next((place for place, at in enumerate(replies) if at > since), len(replies))
            late = replies[max(0, first - 1) :]
            found.append(max((b - a for a, b in itertools.pairwise(late)), default=0.0))
        return sorted(found)

    def _run(self) -> None:
        step = self._every / max(1, len(self._clients))
        for number in itertools.count():
            if self._done.is_set():
                return
            due = time.monotonic() + step
            _, udp = list(self._clients.values())[number % len(self._clients)]
            with contextlib.suppress(OSError):  # no session, or nobody listens
                udp.sendto(REQUEST, (INSIDE, PORT))
            while True:
                for descriptor, _ in self._poll.poll(max(0.0, due - time.monotonic()), 64):
                    self._take(descriptor)
                if time.monotonic() >= due:
                    break

    def _take(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            if (server := self._servers.get(descriptor)) is not None:
                _, asker = server.recvfrom(2048)
                server.sendto(BLOCK, asker)
            else:
                client, udp = self._clients[descriptor]
                udp.recv(2048)
                self._replies[client].append(time.monotonic())
