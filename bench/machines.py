"""Thousands of clients on one machine, each with its own source address: their initiations and the results.

The clients speak the protocol without an interface, because WireGuard commands for each client would take longer than
the measured times.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from wgjit.model import PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.messages import parse_response
from wgjit.wire.noise import Initiator

CLIENTS = ipaddress.IPv4Network("198.18.0.0/15")
"""Set aside for benchmarks (RFC 2544)."""
LOST = 2.0
"""Seconds after which a response is lost: none of ours retries."""
WINDOW = 32
"""Clients that wait for their response at once when many knock: far below the 512 handshakes in its queue from which
the kernel asks for cookies."""
_IP_PKTINFO = 8  # linux/in.h


@dataclass(slots=True)
class Newcomer:
    """One connect."""

    key: PublicKey
    sent: float
    """Monotonic seconds."""
    seconds: float | None = None
    """Until the response; None if it was lost."""
    install: float | None = None
    """Seconds that the daemon waited for the device; None if the feed did not tell."""


class Machines:
    """Clients, each with an address of its own, on one socket. Their initiations are made beforehand: on one CPU
    making them disturbs. A context manager that closes the socket.
    """

    def __init__(self, sock: socket.socket, server: tuple[str, int], clients: Sequence[Initiator]) -> None:
        """`sock`: UDP, where all of CLIENTS is local; `server`: the gateway's address and port."""
        self.clients = clients
        self._socket = sock
        self._server = server
        self.strange: Counter[str] = Counter()
        """What came that was no response, by the message's first byte: 03 is a cookie reply."""
        self._messages = [
            client.initiate(index, Tai64n.from_unix_ns(time.time_ns())) for index, client in enumerate(clients)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, index: int, message: bytes | None = None) -> None:
        """Send a message from a client's address, by default its initiation."""
        source = CLIENTS[1 + index % (CLIENTS.num_addresses - 2)].packed
        control = [(socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + source + bytes(4))]  # struct in_pktinfo
        self._socket.sendmsg([message or self._messages[index]], control, 0, self._server)

    def receive(self, timeout: float) -> tuple[int, bytes, float] | None:
        """The next response that fits a client: its number, the message, and when it came; None if none came."""
        end = time.monotonic() + timeout
        while select.select([self._socket], [], [], max(0.0, end - time.monotonic()))[0]:
            message, now = self._socket.recv(2048), time.monotonic()
            response = parse_response(message)
            if not isinstance(response, Refusal) and response.receiver < len(self.clients):
                return response.receiver, message, now
            self.strange[message[:1].hex()] += 1
        return None


def knock(residents: Machines) -> float:
    """Let all knock, and none complete its handshake; gives when the first did. Raises RuntimeError if one is lost."""
    waiting: set[int] = set()
    began = time.monotonic()
    for index in range(len(residents.clients)):
        residents.send(index)
        waiting.add(index)
        while len(waiting) >= WINDOW or (waiting and index == len(residents.clients) - 1):
            if (answer := residents.receive(LOST)) is None:
                raise RuntimeError(
                    f"{len(waiting)} residents got no response within {LOST:g} s, but {dict(residents.strange)}"
                )
            waiting.discard(answer[0])
    return began


def arrive(machines: Machines, rate: float, over: threading.Event) -> list[Newcomer]:
    """Let so many newcomers a second knock until it is `over` or all have, then wait for the last response."""
    newcomers: list[Newcomer] = []
    began, end = time.monotonic(), None
    while end is None or time.monotonic() < end:
        due = began + len(newcomers) / rate if end is None else end
        if (answer := machines.receive(due - time.monotonic())) is not None:
            index, message, now = answer
            if index < len(newcomers) and now - newcomers[index].sent <= LOST:
                session = machines.clients[index].consume_response(message)
                if not isinstance(session, Refusal):
                    machines.send(index, session.seal(0))  # a keepalive: the handshake is complete
                    newcomers[index].seconds = now - newcomers[index].sent
        elif end is None and time.monotonic() >= due:
            if over.is_set() or len(newcomers) == len(machines.clients):
                end = time.monotonic() + LOST
                continue
            index = len(newcomers)
            newcomers.append(Newcomer(machines.clients[index].public_key, time.monotonic()))
            machines.send(index)
    return newcomers
