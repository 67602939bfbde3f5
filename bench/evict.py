"""What newcomers notice while thousands of others are being evicted: connect latency by hold, evicting and not.

A round, with the real daemon and the real WireGuard of this kernel:

    residents knock and never complete ── none leaves ─────────── all leave, `unconfirmed` ──┐
                                         │◀── "none evicted" ──▶│◀────── "evicting" ────────▶│
                                         newcomers, so many a second, all the while

Both stretches have the same residents, the same newcomers and the same observers; they lie in one round, and rounds
follow each other, so that whatever else this machine does falls on both. "removing" is that part of "evicting" in
which peers really left between two looks at the daemon's count; in the rest it reads the device, and waits.

A newcomer is an initiation of a registered key that never knocked, sent at its time whatever became of the others
before it. What is measured is the time to WireGuard's response: capture, lookup, proof, install, verdict, and the
kernel's own Diffie-Hellmans. It then completes the handshake, and stays. Nobody sends twice: what is lost is seen.
"install" is the daemon's own figure, in the feed, of how long the device took for it, locks included.

Goals: none is lost; the 99th percentile, evicting and removing, is at most twice that of none evicted.

Run it in a guest that has kernel WireGuard: `./dev bench evict`, some two minutes; on two CPUs, far slower,
`WGJIT_GUEST_BACKEND=tcg ./dev bench evict --residents 300 --rate 10`; by `--backend go` on this kernel.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import select
import socket
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from lab.gateway import Gateway
from lab.netns import Lab
from lab.wireguard import Backend, WireGuard
from wgjit.model import Peer, PrivateKey, PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.stores.sqlite import SqliteRegistry
from wgjit.wire.messages import parse_response
from wgjit.wire.noise import Initiator

PORT = 51820
LIMIT_RATIO = 2.0
"""What the 99th percentile may be while others are evicted, as a ratio to that of none evicted."""
ENOUGH = 100
"""Newcomers that a 99th percentile takes."""
LOST = 2.0
"""Seconds after which a newcomer's response is lost: none of ours retries."""
WINDOW = 32
"""Residents that knock at once: far below the 512 handshakes from which the kernel asks for cookies."""
CALM = 4.0
"""Seconds of a round at least in which nobody is evicted."""
LONGEST = 60.0
"""Seconds that an eviction of all residents may take."""
POLL = 0.1
"""Seconds between two looks at the daemon's count of departures."""

NONE, EVICTING, REMOVING = "none evicted", "evicting", "removing"


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


@dataclass
class Round:
    """What one round saw."""

    newcomers: list[Newcomer]
    due: float
    """When the first resident was to leave, monotonic seconds."""
    left: list[tuple[float, int]]
    """Looks at the count of departures: monotonic seconds, how many had left in this round."""

    def removals(self) -> list[tuple[float, float, int]]:
        """The stretches, between two looks, in which some left: from, to, how many."""
        return [(a, b, after - before) for (a, before), (b, after) in pairwise(self.left) if after > before]

    def parts(self) -> dict[str, list[Newcomer]]:
        """The newcomers by what was going on when they knocked; those of REMOVING are among EVICTING, too."""
        removals = self.removals()
        begins, ends = [begin for begin, _, _ in removals], [end for _, end, _ in removals]
        parts: dict[str, list[Newcomer]] = {NONE: [], EVICTING: [], REMOVING: []}
        for newcomer in self.newcomers:
            if newcomer.sent + LOST < self.due or newcomer.sent + (newcomer.seconds or LOST) < self.due:
                parts[NONE].append(newcomer)
            elif newcomer.sent >= self.due and ends and newcomer.sent <= ends[-1]:
                parts[EVICTING].append(newcomer)
                if bisect_right(begins, newcomer.sent) > bisect_left(ends, newcomer.sent):
                    parts[REMOVING].append(newcomer)
        return parts


@dataclass
class Outcome:
    """All rounds together."""

    parts: dict[str, list[Newcomer]] = field(default_factory=lambda: {NONE: [], EVICTING: [], REMOVING: []})
    evicted: int = 0
    removing: float = 0.0
    """Seconds in which these left."""
    taken: float = 0.0
    """Seconds from the first one's time to the last one's departure, over all rounds."""
    faults: dict[str, int] = field(default_factory=dict)

    def add(self, round_: Round) -> None:
        """Count a round."""
        for name, newcomers in round_.parts().items():
            self.parts[name] += newcomers
        removals = round_.removals()
        self.evicted += sum(count for _, _, count in removals)
        self.removing += sum(end - begin for begin, end, _ in removals)
        self.taken += removals[-1][1] - round_.due

    def missed(self) -> list[str]:
        """The goals that were not reached."""
        missed = [
            f"{name}: {lost} of {len(newcomers)} newcomers were lost"
            for name, newcomers in self.parts.items()
            if (lost := sum(newcomer.seconds is None for newcomer in newcomers))
        ]
        few = {name: len(newcomers) for name, newcomers in self.parts.items() if len(newcomers) < ENOUGH}
        missed += [f"{name}: {count} newcomers tell no 99th percentile: more --rounds" for name, count in few.items()]
        calm = _percentile(_seconds(self.parts[NONE]), 0.99)
        for name in (EVICTING, REMOVING):
            busy = _percentile(_seconds(self.parts[name]), 0.99)
            if not few and not busy <= LIMIT_RATIO * calm:
                missed.append(f"{name}: p99 {busy / calm:.2f} times that of {NONE}, limit {LIMIT_RATIO:g}")
        return missed + ([f"faults {self.faults}"] if self.faults else [])


def _seconds(newcomers: Iterable[Newcomer]) -> list[float]:
    return [newcomer.seconds for newcomer in newcomers if newcomer.seconds is not None]


def _percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; not a number if there is none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else float("nan")


class Site:
    """A gateway, and one machine on which all clients are."""

    def __init__(self, lab: Lab, backend: Backend, residents: int) -> None:
        self.lab = lab
        self.gateway, self.machine = lab.namespace("gw"), lab.namespace("c")
        lab.link(self.gateway, self.machine, ["10.9.0.1/24"], ["10.9.0.2/24"])
        self.server = WireGuard(self.gateway, ["10.8.0.1/16"], listen_port=PORT, backend=backend)
        self.path = lab.folder / "peers.db"
        self._registry = SqliteRegistry(self.path)
        self._addresses = (ipaddress.IPv4Network(0x0B000000 + number) for number in range(1 << 24))
        self.residents = self.register(residents)

    def register(self, count: int) -> list[Initiator]:
        """New clients whom the registry knows."""
        keys = [PrivateKey.generate() for _ in range(count)]
        made = [Initiator(key, self.server.public_key) for key in keys]
        self._registry.add(Peer(client.public_key, (next(self._addresses),)) for client in made)
        return made

    def socket(self) -> socket.socket:
        """A client's socket, connected to the gateway."""
        made = self.machine.socket()
        made.connect(("10.9.0.1", PORT))
        return made

    def up(self, timeout: float) -> Gateway:
        """The daemon; no limit is in the way of many clients behind one address."""
        settings = self.lab.folder / "settings.toml"
        settings.write_text(f"[gateway]\nunconfirmed_timeout = {timeout}\nsource_rate = 1e6\nexchange_rate = 1e6\n")
        return Gateway(
            self.gateway, self.server.name, "--config", settings, store=self.path, delivery="hold"
        )  # fmt: skip

    def close(self) -> None:
        """Empty the interface, which is then deleted far sooner."""
        self._registry.close()
        self.server.clear()


def _initiations(clients: Sequence[Initiator]) -> list[bytes]:
    return [client.initiate(index, Tai64n.from_unix_ns(time.time_ns())) for index, client in enumerate(clients)]


def knock(sock: socket.socket, clients: Sequence[Initiator]) -> float:
    """Let all knock, and none complete its handshake; gives when the first did. Raises RuntimeError if one is lost."""
    sock.settimeout(LOST)
    waiting: set[int] = set()
    prepared = _initiations(clients)
    began = time.monotonic()
    for index, message in enumerate(prepared):
        sock.send(message)
        waiting.add(index)
        while len(waiting) >= WINDOW or (waiting and index == len(clients) - 1):
            try:
                waiting.discard(_answered(sock.recv(2048)))
            except TimeoutError:
                raise RuntimeError(f"{len(waiting)} residents got no response within {LOST:g} s") from None
    return began


def _answered(message: bytes) -> int:
    """The index that a response answers; -1 if it is none."""
    response = parse_response(message)
    return -1 if isinstance(response, Refusal) else response.receiver


def arrive(sock: socket.socket, clients: Sequence[Initiator], rate: float, over: threading.Event) -> list[Newcomer]:
    """Let so many newcomers a second knock, until it is `over` or none is left; then wait for the last response."""
    prepared = _initiations(clients)
    newcomers: list[Newcomer] = []
    began, end = time.monotonic(), None
    while end is None or time.monotonic() < end:
        due = began + len(newcomers) / rate if end is None else end
        if select.select([sock], [], [], max(0.0, due - time.monotonic()))[0]:
            message, now = sock.recv(2048), time.monotonic()
            index = _answered(message)
            if 0 <= index < len(newcomers) and newcomers[index].seconds is None:
                session = clients[index].consume_response(message)
                if not isinstance(session, Refusal):
                    sock.send(session.seal(0))  # a keepalive: the handshake is complete
                    newcomers[index].seconds = now - newcomers[index].sent
        elif end is None:
            if over.is_set() or len(newcomers) == len(clients):
                end = time.monotonic() + LOST
                continue
            index = len(newcomers)
            newcomers.append(Newcomer(clients[index].public_key, time.monotonic()))
            sock.send(prepared[index])
    return [newcomer for newcomer in newcomers if _in_time(newcomer)]


def _in_time(newcomer: Newcomer) -> bool:
    """Always true: a response that came too late counts as lost."""
    if newcomer.seconds is not None and newcomer.seconds > LOST:
        newcomer.seconds = None
    return True


@contextmanager
def listening(gateway: Gateway) -> Iterator[dict[str, float]]:
    """Follow the feed; gives the seconds of each install by its key."""
    installs: dict[str, float] = {}
    over = threading.Event()

    def listen() -> None:
        with gateway.feed() as feed:
            ready.set()
            while not over.is_set():
                try:
                    record = feed.next(timeout=LOST)
                except TimeoutError:
                    return  # it was over long ago: newcomers come all the time
                if "install" in record["stages"]:
                    installs[record["public_key"]] = record["stages"]["install"] / 1e6

    ready = threading.Event()
    thread = threading.Thread(target=listen)
    thread.start()
    try:
        if not ready.wait(10.0):
            raise RuntimeError("the feed does not open")
        yield installs
    finally:
        over.set()
        thread.join()
