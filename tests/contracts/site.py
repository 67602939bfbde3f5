"""The site for tests of capture and replay: a gateway with several addresses and a client, joined by a veth pair.

                 ┌──────────── gateway ────────────┐              ┌──── client ────┐
                 │ 10.9.0.1, 10.9.0.77             │ veth    veth │ 10.9.0.2       │
                 │ fd09::1,  fd09::77              ├──────────────┤ fd09::2        │
                 └─────────────────────────────────┘              └────────────────┘

No WireGuard is needed. A UDP socket on the port takes its place, and tells by which interface and at which local
address a packet arrived, as WireGuard would see it.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

from lab.netns import Lab, Namespace
from wgjit.drivers.base import Capture, Captured
from wgjit.wire.packets import Datagram, peel

P = ParamSpec("P")
T = TypeVar("T")

PORT = 51820
GATEWAYS = ("10.9.0.77", "fd09::77")
"""Addresses that are not the gateway's primary ones."""


def knock(number: int = 0) -> bytes:
    """As long as an initiation and of its type; told from others by its last byte."""
    return b"\x01" + bytes(146) + bytes([number])


class Arrival(NamedTuple):
    """What the gateway's socket got."""

    payload: bytes
    local: str
    ifindex: int


class Listener:
    """A UDP socket on the port, for one address family."""

    def __init__(self, family: socket.AddressFamily, address: str = "") -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self.socket.bind((address, PORT))

    def next(self, timeout: float = 30.0) -> Arrival | None:
        """What comes next; None if nothing does in time."""
        self.socket.settimeout(timeout)
        try:
            payload, ((_, _, info),), _, _ = self.socket.recvmsg(4096, 200)
        except TimeoutError:
            return None
        if len(info) == 12:  # struct in_pktinfo: interface, local address, destination in the header
            index, _, destination = struct.unpack("@i4s4s", info)
            return Arrival(payload, socket.inet_ntop(socket.AF_INET, destination), index)
        destination, index = struct.unpack("@16si", info)  # struct in6_pktinfo
        return Arrival(payload, socket.inet_ntop(socket.AF_INET6, destination), index)

    def receive(self, count: int) -> list[bytes]:
        """The payloads of the next `count` arrivals, fewer if no more come."""
        arrivals = (self.next() for _ in range(count))
        return [arrival.payload for arrival in itertools.takewhile(bool, arrivals) if arrival]


class Site:
    """The network of this module's head, with a listener per family in the gateway and a sender in the client."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.gateway, self.client = lab.namespace("gw"), lab.namespace("c1")
        self.link = lab.link(self.gateway, self.client, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        self.gateway.ip(*(f"address add {a}{'/24' if '.' in a else '/64 nodad'} dev {self.link.a}" for a in GATEWAYS))
        self.ifindex = self.gateway.call(socket.if_nametoindex, self.link.a)
        mac = json.loads(self.gateway.run("ip", "-json", "link", "show", "dev", self.link.a))[0]["address"]
        self.client.ip(*(f"neighbour replace {a} lladdr {mac} nud permanent dev {self.link.b}" for a in GATEWAYS))
        for end, addresses in ((self.gateway, ("fd09::1", "fd09::77")), (self.client, ("fd09::2",))):
            _await_ipv6(end, addresses)
        self.listeners = {f: self.inside(Listener, f) for f in (socket.AF_INET, socket.AF_INET6)}
        self.senders = {f: self.client.socket(f) for f in self.listeners}

    def inside(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function inside the gateway."""
        return self.gateway.call(function, *args, **kwargs)

    def send(self, *payloads: bytes, to: str = GATEWAYS[0]) -> None:
        """Send datagrams from the client to the gateway's port."""
        for payload in payloads:
            self.senders[_family(to)].sendto(payload, (to, PORT))

    def listener(self, address: str) -> Listener:
        """The gateway's socket for the address's family."""
        return self.listeners[_family(address)]

    def checksum_errors(self) -> int:
        """How many IPv4 UDP packets the gateway's kernel has dropped for their checksum (/proc/net/snmp)."""
        lines = self.gateway.run("cat", "/proc/thread-self/net/snmp").splitlines()
        names, values = (line.split() for line in lines if line.startswith("Udp:"))
        return int(values[names.index("InCsumErrors")])

    def close(self) -> None:
        """Let go of the sockets; the lab takes the rest."""
        for listener in self.listeners.values():
            listener.socket.close()
        for sender in self.senders.values():
            sender.close()


def datagram(packet: bytes) -> Datagram:
    """A captured packet, read; it must be whole."""
    seen = peel(packet)
    assert isinstance(seen, Datagram)
    return seen


def collect(capture: Capture, count: int, timeout: float = 30.0) -> list[Captured]:
    """What is captured until `count` packets are there; fewer if no more come in time."""
    found: list[Captured] = []
    while len(found) < count and select.select([capture], [], [], timeout)[0]:
        found += capture.read()
    return found


def _await_ipv6(namespace: Namespace, addresses: Sequence[str], timeout: float = 60.0) -> None:
    """Wait until packets to these addresses are delivered: without duplicate address detection, too, the kernel makes
    an address's local route later, in a work queue (addrconf_dad_work)."""
    deadline = time.monotonic() + timeout
    while not all(f"local {a} " in namespace.run("ip", "-6", "route", "show", "table", "local") for a in addresses):
        assert time.monotonic() < deadline, f"no local route to {addresses}"
        time.sleep(0.01)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
