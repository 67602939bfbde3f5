"""Witnesses for tests of faults: pings that must all come back, and a record of the packets on the wire."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lab.netns import Namespace
from lab.wireguard import Client
from tests.contracts.gateway_site import INSIDE, PORT, Site
from wgjit.wire.messages import INITIATION

ETH_P_ALL = 0x0003  # linux/if_ether.h; ETH_P_IP alone would not show what the host itself sends
IPV4_UDP = 17

INTERVAL = 0.2
"""Seconds between two pings of a steady session."""


@contextmanager
def steady(client: Client) -> Iterator[list[float | None]]:
    """Ping through a client's session for the time of a `with`: each ping must be answered, and some are sent."""
    done = threading.Event()
    seconds: list[float | None] = []

    def go_on() -> None:
        while not done.is_set():
            seconds.append(client.ping(INSIDE[0], timeout=30.0))
            done.wait(INTERVAL)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield seconds
    finally:
        done.set()
        thread.join()
    assert seconds
    assert None not in seconds, f"{seconds.count(None)} of {len(seconds)} pings through a session were lost"


class Datagram(NamedTuple):
    """An IPv4 UDP datagram on the wire."""

    source: str
    destination: str
    port: int
    """Destination port."""
    payload: bytes


class Wire:
    """What an interface has received and sent since this was made: IPv4 UDP. A context manager."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((device, ETH_P_ALL))
        self._socket.setblocking(False)
        self._seen: list[Datagram] = []

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def seen(self) -> list[Datagram]:
        """All of it, in order."""
        while True:
            try:
                packet = self._socket.recv(2048)
            except BlockingIOError:
                return self._seen
            if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != IPV4_UDP:
                continue
            udp = packet[(packet[0] & 15) * 4 :]
            source, destination = (str(ipaddress.IPv4Address(packet[at : at + 4])) for at in (12, 16))
            (port, length) = struct.unpack_from(">HH", udp, 2)
            self._seen.append(Datagram(source, destination, port, udp[8:length]))

    def initiations(self, source: str) -> list[bytes]:
        """The knocks of one address, as an eavesdropper has them."""
        return [d.payload for d in self.seen() if (d.source, d.port) == (source, PORT) and d.payload[0] == INITIATION]

    def sent_to(self, address: str) -> list[Datagram]:
        """What went out to an address."""
        return [datagram for datagram in self.seen() if datagram.destination == address]


class Thief:
    """Somebody at another address, who sends again what he has recorded."""

    ADDRESS = "10.9.0.66"

    def __init__(self, site: Site) -> None:
        site.direct.ip(f"address add {self.ADDRESS}/24 dev {site.link.b}")
        self._site = site

    def send(self, payload: bytes) -> None:
        """One datagram to the gateway's port."""
        with self._site.direct.socket() as udp:
            udp.bind((self.ADDRESS, 0))
            udp.sendto(payload, ("10.9.0.1", PORT))
