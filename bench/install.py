"""Peers installed per second in kernel WireGuard by the product's own path, compared with what a C program could reach.

The bound is a loop that only sends the same messages, prepared beforehand as bytes: send(2) and recv(2) of libc into
one buffer, and a check of the acknowledgement's errno. The difference between product and bound is our encoding,
decoding and locks. The rest is the kernel's time.

Each peer is new, with a preshared key, an IPv4 prefix and an IPv6 prefix, as a gateway installs it. Product and bound
take turns within a round, in alternating order, with equally many peers in the device. A ratio is the median of the
rounds' ratios. Goal: at least 0.7 of the bound, one by one and in one call. Ends with status 1 if the goal is missed.

Run it in a guest that has kernel WireGuard: `./dev bench install`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import ipaddress
import os
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import perf_counter

from bench.plot import bars
from bench.report import Report, add_option
from lab.netns import Lab
from wgjit.drivers.netlink.codec import NLM_F_ACK, NLMSG_ERROR, encode_message
from wgjit.drivers.netlink.generic import NETLINK_GENERIC, GenetlinkSocket
from wgjit.drivers.wireguard.interface import create_interface, delete_interface
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.kernel.messages import FAMILY, VERSION, WG_CMD_SET_DEVICE, encode_changes
from wgjit.errors import DeviceError
from wgjit.model import Peer, PeerChange, PresharedKey, PrivateKey, PublicKey

GOAL = 0.7
"""Of the bound's peers per second."""
WAYS = ("one by one", "in one call")

_libc = ctypes.CDLL(None, use_errno=True)
_ROOM = 4096
"""Bytes for an acknowledgement: it holds the request's header."""


def new_peers(count: int) -> list[PeerChange]:
    """As a gateway installs them: without endpoint, which the client's own packet brings."""
    return [
        PeerChange.install(
            Peer(
                PublicKey(secrets.token_bytes(32)),
                (
                    ipaddress.IPv4Network((secrets.token_bytes(4), 32)),
                    ipaddress.IPv6Network((secrets.token_bytes(16), 128)),
                ),
                PresharedKey.generate(),
            )
        )
        for _ in range(count)
    ]


def groups(changes: Sequence[PeerChange], way: str) -> list[Sequence[PeerChange]]:
    """What is given to the device with one call each."""
    return [[change] for change in changes] if way == "one by one" else [changes]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes; the collector waits, as it would meet whoever comes at its time."""
    gc.collect()
    gc.disable()
    try:
        started = perf_counter()
        work()
        return perf_counter() - started
    finally:
        gc.enable()


class Bound:
    """Prepared messages to the family, and the loop that only sends them."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
        self._socket.setsockopt(270, 10, 1)  # SOL_NETLINK, NETLINK_CAP_ACK: as the product's socket
        self._socket.bind((0, 0))
        self._sequence = 0

    def prepare(self, name: str, changes: Sequence[Sequence[PeerChange]]) -> list[bytes]:
        """The whole messages for these calls, each numbered."""
        return [self._message(attributes) for group in changes for attributes in encode_changes(name, group)]

    def _message(self, attributes: bytes) -> bytes:
        self._sequence += 1
        body = struct.pack("=BBH", WG_CMD_SET_DEVICE, VERSION, 0) + attributes
        return encode_message(self._family, NLM_F_ACK, self._sequence, body)

    def send(self, messages: Sequence[bytes]) -> None:
        """Send each and wait for its acknowledgement. Raises OSError for what the kernel refused."""
        send, recv = _libc.send, _libc.recv
        descriptor, buffer = self._socket.fileno(), ctypes.create_string_buffer(_ROOM)
        errno_of = ctypes.c_int.from_buffer(buffer, 16)
        kind_of = ctypes.c_uint16.from_buffer(buffer, 4)
        for message in messages:
            if send(descriptor, message, len(message), 0) < 0 or recv(descriptor, buffer, _ROOM, 0) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if kind_of.value != NLMSG_ERROR or errno_of.value:
                raise OSError(-errno_of.value, os.strerror(-errno_of.value))

    def close(self) -> None:
        self._socket.close()


class Bench:
    """One interface, the product's way to it, and the bound's."""

    def __init__(self, name: str, count: int) -> None:
        self.device, self.count = KernelDevice(name), count
        with GenetlinkSocket(VERSION) as asking:
            self.bound = Bound(asking.resolve(FAMILY))
        self.device.set_interface(PrivateKey.generate().reveal())  # without one the kernel skips its Diffie-Hellman

    def product(self, way: str) -> float:
        """Seconds a peer by the product's own path, from changes as the core makes them to the last acknowledgement."""
        calls = groups(new_peers(self.count), way)
        return seconds(lambda: [self.device.apply(call) for call in calls]) / self.count

    def sent(self, way: str) -> float:
        """Seconds a peer of the bound."""
        messages = self.bound.prepare(self.device.name, groups(new_peers(self.count), way))
        return seconds(lambda: self.bound.send(messages)) / self.count

    def empty(self) -> tuple[float, float]:
        """Read all, remove all; seconds a peer of each. Raises DeviceError if not all of the last two are there."""
        found: list[PublicKey] = []
        read = seconds(lambda: found.extend(peer.public_key for peer in self.device.peers()))
        if len(found) != 2 * self.count:
            raise DeviceError(f"{self.device.name}: {len(found)} peers are there, {2 * self.count} were installed")
        changes = [PeerChange(key, remove=True) for key in found]
        return read / len(found), seconds(lambda: self.device.apply(changes)) / len(found)

    def rounds(self, count: int) -> Iterator[tuple[str, float, float, float, float]]:
        """Way, product, bound, reading and removal of each round, seconds a peer. The first round is not told."""
        for number in range(count + 1):
            for way in WAYS:
                if number % 2:
                    product, bound = self.product(way), self.sent(way)
                else:
                    bound, product = self.sent(way), self.product(way)
                told = way, product, bound, *self.empty()
                if number:
                    yield told

    def close(self) -> None:
        self.device.close()
        self.bound.close()


def tell(report: Report, rounds: Sequence[tuple[str, float, float, float, float]]) -> list[str]:
    """The table and the plot; gives the ways that missed the goal."""
    missed, rows = [], []
    series: dict[str, list[float]] = {"bound": [], "product": []}
    for way in WAYS:
        of_way = [(product, bound) for name, product, bound, *_ in rounds if name == way]
        product, bound = (median(times) for times in zip(*of_way, strict=True))
        share = median(bound / product for product, bound in of_way)
        rows.append((way, f"{product * 1e6:.1f}", f"{bound * 1e6:.1f}", f"{1 / product:,.0f}", f"{share:.2f}"))
        series["bound"].append(1 / bound)
        series["product"].append(1 / product)
        if not share >= GOAL:
            missed.append(f"{way}: {share:.2f} of the bound, goal {GOAL}")
    report.table(("way", "µs a peer", "bound: µs a peer", "peers a second", "of the bound"), rows)
    read, removed = (median(figures) * 1e6 for figures in zip(*((r[3], r[4]) for r in rounds), strict=True))
    report.say(f"Reading residents takes {read:.1f} µs a peer, removing them in one call {removed:.1f} µs a peer.")
    report.plot("install", bars("Peers installed a second", WAYS, series, "peers a second"), "Peers installed a second")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench install", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=int, default=500, help="peers of each turn (default 500)")
    parser.add_argument("--rounds", type=int, default=30)
    add_option(parser)
    options = parser.parse_args()
    report = Report("install", options.write)
    report.head()
    with Lab() as lab:
        name = lab.interface("b")
        try:
            create_interface(name, backend="kernel")
        except DeviceError as error:
            print(f"bench.install: {error}", file=sys.stderr)
            return 2
        try:
            bench = Bench(name, options.peers)
            missed = tell(report, list(bench.rounds(options.rounds)))
            bench.close()
        finally:
            delete_interface(name)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())
