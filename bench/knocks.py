"""The daemon's cost of a knock, by the knock's outcome: `python -m bench.knocks` (`./dev bench knocks`).

A knock goes the whole way through the real loop, core, capture codec, netlink codec and SQLite registry. Only the
kernel is missing: the queue's socket is one end of a socket pair, and the device's socket acknowledges each message. So
the figures are the daemon's own time and the socket calls, without the time of netfilter, WireGuard and the scheduler.

| kind       | outcome                                                     | X25519 calls |
| ---------- | ----------------------------------------------------------- | ------------ |
| `new`      | looked up, proven, installed, released, its claim noted     | 2            |
| `rekey`    | of a resident: released, then proven, its claim noted       | 2            |
| `unknown`  | looked up, refused, released                                | 1            |
| `bad-mac1` | refused, released                                           | 0            |

Each kind comes in three ways: one by one; 16 at once; and one after the process has slept for 20 ms. The third way is
the usual one in daily life, when code and data have left the caches. Rounds alternate, and lower quartiles count, as in
`bench.decode`. The table also shows the cost of a look at the device per resident.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import secrets
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, cast
from unittest import mock

from bench.packets import bad_mac1, sources, unknown
from bench.report import Report, add_option
from lab.registry import LabRegistry
from wgjit.core.gateway import Gateway
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.events import DeviceRead
from wgjit.daemon.feed_hub import FeedHub
from wgjit.daemon.loop import BATCH, Loop
from wgjit.daemon.metrics import Metrics
from wgjit.drivers.base import Injector
from wgjit.drivers.capture import queue as capture_nfqueue
from wgjit.drivers.capture import queue_messages as nfqueue
from wgjit.drivers.capture.queue import NfqueueCapture
from wgjit.drivers.netlink import codec as netlink
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink.generic import GenetlinkSocket
from wgjit.drivers.wireguard.kernel import messages as wg_messages
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.kernel.messages import Places
from wgjit.model import AllowedIP, Delivery, Endpoint, Peer, PresharedKey, PrivateKey, PublicKey, Tai64n
from wgjit.wire.noise import Initiator, Responder
from wgjit.wire.packets import build

DESTINATION = Endpoint.parse("192.0.2.2:51820")
RESIDENTS = 500
ASLEEP = 0.02
"""Seconds."""
WAYS = {"one by one": (1, 0.0), "16 at once": (BATCH, 0.0), "after 20 ms asleep": (1, ASLEEP)}
"""How many knocks come at once, and how long the process has slept before."""
*AWAKE, SLEEPER = WAYS
TOTAL = sum(at_once for at_once, _ in WAYS.values())
KINDS = {"new": 2, "rekey": 2, "unknown": 1, "bad-mac1": 0}
"""And how many X25519 calls each cannot do without."""


class Queue(nfnetlink.NetfilterSocket):
    """The queue's socket without netfilter: what is `put` arrives as held packets, verdicts go to nobody."""

    def __init__(self) -> None:
        self.socket, self._kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sequence = 0
        self._id = 0

    def put(self, packet: bytes) -> None:
        """A packet is held from now on."""
        self._id += 1
        fields = {
            "header": (self._id, 0x0800, 1),
            "indev": 2,
            "hardware_address": (6, 0, bytes(8)),
            "payload": packet,
        }
        request = nfnetlink.request(nfqueue.MessageKind.PACKET, nfqueue.PACKET.encode(fields))
        self._kernel.send(netlink.encode_message(request.kind, 0, 0, request.body))

    def drain(self) -> None:
        """Forget the verdicts."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._kernel.recv(1 << 16, socket.MSG_DONTWAIT)

    def request(self, *requests: nfnetlink.Request) -> list[netlink.Message]:
        return []


class Yes:
    """A netlink socket that acknowledges whatever it is sent."""

    def __init__(self) -> None:
        self._sequence = b""

    def send(self, message: bytes) -> int:
        self._sequence = message[8:12]
        return len(message)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        ack = struct.pack("=IHH", 36, netlink.NLMSG_ERROR, netlink.NLM_F_CAPPED) + self._sequence + bytes(4 + 4 + 16)
        return ack, (0, 0)

    def close(self) -> None:
        pass


class Device(KernelDevice):
    """The kernel's device without the kernel; `dump` is what it tells of its residents."""

    def __init__(self, dump: Sequence[netlink.Message]) -> None:
        self.name = "wg0"
        self.dump = dump
        self._lock = threading.Lock()
        self._recall = Places()
        self._socket = GenetlinkSocket.__new__(GenetlinkSocket)
        vars(self._socket).update(_sequence=0, _socket=Yes(), _version=1, _family_id=30)

    @contextlib.contextmanager
    def _dump_socket(self) -> Iterator[Any]:  # type: ignore[override]
        yield mock.Mock(dump_command=lambda *_: iter(self.dump))


def prefix_entry(prefix: AllowedIP) -> bytes:
    """An allowed IP in the kernel's order."""
    values = {"prefix_length": prefix.prefixlen, "family": socket.AF_INET, "address": prefix.network_address.packed}
    return netlink.encode_attribute(netlink.NLA_F_NESTED, wg_messages.ALLOWED_IP.encode(values))


def dump(peers: Sequence[Peer]) -> list[netlink.Message]:
    """A dump of residents as the kernel tells it, some 30 a message."""
    messages = []
    for start in range(0, len(peers), 30):
        entries = [
            wg_messages.PEER.encode(
                {
                    "public_key": peer.public_key,
                    "preshared_key": bytes(32),
                    "last_handshake": (1_700_000_000, 5),
                    "keepalive": 0,
                    "tx_bytes": 1000,
                    "rx_bytes": 1000,
                }
            )
            + netlink.encode_attribute(10, struct.pack("=I", 1))  # the protocol's version
            + wg_messages.PEER.encode({"endpoint": Endpoint(bytes((192, 0, 2, 1)), 4000)})
            + netlink.encode_attribute(9, b"".join(prefix_entry(prefix) for prefix in peer.allowed_ips))
            for peer in peers[start : start + 30]
        ]
        body = struct.pack("=BBH", 0, 1, 0) + wg_messages.DEVICE.encode({"name": "wg0", "peers": entries})
        messages.append(netlink.Message(30, 2, 1, body))
    return messages


class Bench:
    """One gateway, and packets of each kind for it."""

    def __init__(self, folder: Path, rounds: int) -> None:
        private = PrivateKey.generate()
        self.responder = Responder(private)
        count = (rounds + 1) * TOTAL
        self.new = self._clients(count, 0)
        self.residents = self._clients(RESIDENTS, count)
        self.store = LabRegistry(folder / "registry.db")
        self.store.add(peer for _, peer in (*self.new, *self.residents))
        with mock.patch.object(nfnetlink, "NetfilterSocket", Queue), mock.patch.object(capture_nfqueue, "NftRules"):
            self.capture = NfqueueCapture("wg0", 51820)
        self.queue = cast(Queue, self.capture._netfilter)
        self.device = Device(dump([peer for _, peer in self.residents]))
        settings = Settings(gateway="g", delivery=Delivery.HOLD, exchanges=1e9, source_rate=1e9)
        self.metrics = Metrics()
        self.gateway = Gateway(self.responder, settings)
        self.loop = Loop(
            self.gateway, self.device, self.capture, cast(Injector, None), self.store, FeedHub(), self.metrics
        )
        self._packets = {kind: self._stream(kind) for kind in KINDS}

    def _clients(self, count: int, first: int) -> list[tuple[Initiator, Peer]]:
        clients = []
        for number in range(first, first + count):
            key = PrivateKey.generate()
            address = ipaddress.IPv4Address(0x0A000000 + number)
            peer = Peer(key.public(), (ipaddress.ip_network(address),), PresharedKey.generate())
            clients.append((Initiator(key, self.responder.public_key), peer))
        return clients

    def _stream(self, kind: str) -> Iterator[bytes]:
        senders = sources(20_000)
        for number, message in enumerate(self._messages(kind)):
            yield build(senders[number % len(senders)], DESTINATION, message)

    def _messages(self, kind: str) -> Iterator[bytes]:
        key = self.responder.public_key
        if kind == "new":
            return (client.initiate(1, Tai64n.from_unix_ns(time.time_ns())) for client, _ in self.new)
        if kind == "rekey":
            again = (pair for _ in iter(int, 1) for pair in self.residents)
            return (client.initiate(1, Tai64n.from_unix_ns(time.time_ns())) for client, _ in again)
        return (unknown if kind == "unknown" else bad_mac1)(key, PublicKey(secrets.token_bytes(32)))

    async def knock(self, kind: str, at_once: int, asleep: float = 0.0) -> float:
        """So many knocks at once, after so long a sleep; seconds a knock."""
        packets = [next(self._packets[kind]) for _ in range(at_once)]
        before = sum(self.metrics.decisions.values())
        for packet in packets:
            self.queue.put(packet)
        time.sleep(asleep)  # noqa: ASYNC251 - as the whole process does
        started = time.perf_counter()
        while sum(self.metrics.decisions.values()) < before + at_once:
            self.loop._packets_wait()
        taken = time.perf_counter() - started
        self.queue.drain()
        await asyncio.sleep(0)
        return taken / at_once

    def look(self) -> float:
        """Seconds that a reading costs for each resident: decoding it, and following it."""
        started = time.perf_counter()
        began = time.monotonic()
        self.loop.feed_event(DeviceRead(began, list(self.device.peers()), took=0.0))
        return (time.perf_counter() - started) / RESIDENTS

    def arithmetic(self) -> float:
        """Seconds of one bare X25519 call, as the daemon makes it."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

        ours, theirs = X25519PrivateKey.generate(), bytes(self.responder.public_key)
        started = time.perf_counter()
        for _ in range(10):
            ours.exchange(X25519PublicKey.from_public_bytes(theirs))
        return (time.perf_counter() - started) / 10


async def measure(bench: Bench, rounds: int) -> dict[str, float]:
    """Seconds, lower quartiles: by kind and way, of a look's resident, of an X25519 call."""
    residents = DeviceRead(time.monotonic(), list(bench.device.peers()))
    serving = asyncio.create_task(bench.loop.run(residents))
    await asyncio.sleep(0)
    asyncio.get_running_loop().remove_reader(bench.capture.fileno())  # we call it, to time it
    await asyncio.sleep(0.5)  # the registry has told of the residents
    taken: dict[str, list[float]] = {}
    try:
        for number in range(rounds + 1):
            for kind in KINDS:
                for way in AWAKE:
                    seconds = await bench.knock(kind, *WAYS[way])
                    if number:  # the first warms up
                        taken.setdefault(f"{kind}, {way}", []).append(seconds)
            taken.setdefault("X25519", []).append(bench.arithmetic())
            if number % 5 == 0:
                taken.setdefault("look", []).append(bench.look())
        for _ in range(rounds + 1):  # by themselves: what sleeps makes the next knock dearer, too
            for kind in KINDS:
                seconds = await bench.knock(kind, *WAYS[SLEEPER])
                taken.setdefault(f"{kind}, {SLEEPER}", []).append(seconds)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        bench.store.close()
    check(bench, rounds)
    return {what: quantiles(seconds, n=4)[0] for what, seconds in taken.items()}


def check(bench: Bench, rounds: int) -> None:
    """Raises RuntimeError unless each knock became what its kind says."""
    count = (rounds + 1) * TOTAL
    expected = {"installed": count, "resident": count, "refused": 2 * count}
    refusals = {"unknown": count, "bad_mac1": count}
    told = dict(bench.metrics.decisions), dict(bench.metrics.refusals), dict(bench.metrics.faults)
    if told != (expected, refusals, {}):
        raise RuntimeError(f"knocks did not become what they should: {told}")


def tell(report: Report, taken: dict[str, float]) -> None:
    one = taken["X25519"]
    rows = []
    for kind, calls in KINDS.items():
        each, many, cold = (taken[f"{kind}, {way}"] for way in WAYS)
        rest = many - calls * one
        rows.append(
            (kind, str(calls), *(f"{t * 1e6:.1f}" for t in (each, many, rest)), f"{1 / many:,.0f}", f"{cold * 1e6:.0f}")
        )
    head = (
        "knock",
        "X25519 calls",
        "one by one µs",
        "16 at once µs",
        "without X25519 µs",
        "a second",
        "asleep before µs",
    )
    report.table(head, rows)
    report.say(
        f"One X25519 call takes {one * 1e6:.1f} µs here; a look at the device {taken['look'] * 1e6:.1f} µs for each "
        "resident, the kernel's part not counted."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench knocks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--profile", metavar="KIND", choices=KINDS, help="where the time goes, for one kind of knock")
    add_option(parser)
    options = parser.parse_args(arguments)
    report = Report("knocks", options.write)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.rounds)
        if options.profile:
            profile(options.profile, bench, options.rounds)
            return 0
        report.head()
        tell(report, asyncio.run(measure(bench, options.rounds)))
    report.finish()
    return 0


def profile(kind: str, bench: Bench, rounds: int) -> None:
    """Print what the knocks of one kind spend their time on, 16 at once."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()

    async def run() -> None:
        serving = asyncio.create_task(bench.loop.run(DeviceRead(time.monotonic(), list(bench.device.peers()))))
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().remove_reader(bench.capture.fileno())
        wait: Callable[[], None] = bench.loop._packets_wait
        bench.loop._packets_wait = lambda: profiler.runcall(wait)  # type: ignore[method-assign]
        for _ in range(rounds):
            await bench.knock(kind, BATCH)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(run())
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    sys.exit(main())
