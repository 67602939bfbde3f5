"""Routes of residents: what they cost a gateway, and how soon traffic from inside finds a client that has moved.

Three parts:

churn  Clients connect, and somebody removes them from the registry a few seconds later, so as many routes go out as
       come in. Rounds with and without routes take turns; BIRD runs beside all of them. Their first pings are compared.
moves  A fleet of two with a router behind it, by BIRD and by FRR, with the configurations of docs/ROUTING.md. In each
       round a client that one gateway serves sends its first ping by the other. A host behind the router pings the
       client every 10 ms. `reached` is the time from the client's first ping until the host has its first reply.
held   1,000 peers with 100 prefixes each: 100,000 routes. CPU and memory of the daemon, how far BIRD lags behind, a
       flush of all routes, and a daemon that is killed and started anew.

Goals: 10,000 routes a minute in and as many out, with first pings at most 1.2 times as long (p99); `reached` within 1 s
(p99); after a flush and after a kill, all routes are there again, and of the latter none was away. Ends with status 1
otherwise.

Run it in a guest with kernel WireGuard: `./dev bench routes`. With `--backend go` it runs on this kernel, with
wireguard-go on all sides.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import select
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load.identities import registration
from bench.load.site import Site
from bench.processes import Process
from bench.report import Report, add_option, section_for
from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.gateway import Gateway
from lab.netns import Lab, Namespace, checksum
from lab.recipes import configuration
from lab.registry import LAB, LabRegistry
from lab.registry_service import wait_until
from lab.routing.bird import Bird
from lab.routing.site import Daemon, Inside
from lab.wireguard import Backend, Client
from wgjit.model import AllowedIP, Peer, PrivateKey

RATIO = 1.2
REACHED = 1.0
IN_A_MINUTE = 10_000
STAY = 3.0
"""Seconds after which a client of the churn is removed."""
PATIENCE = 120.0
CLIENT_PORT = 20000
MIB = 1 << 20
PARTS = ("churn", "moves", "held")


def percentile(times: Sequence[float], share: float) -> float:
    """Of times in any order."""
    return sorted(times)[math.ceil(len(times) * share) - 1] if times else math.nan


def settings(folder: Path, mode: str) -> Path:
    """A configuration with this `routes.mode`."""
    path = folder / f"{mode}.toml"
    path.write_text(f'[routes]\nmode = "{mode}"\n')
    return path


def bird(machine: Namespace) -> Bird:
    """BIRD on a gateway that no router is behind."""
    return Bird(machine, configuration("ROUTING.md", "/etc/bird/bird.conf on each gateway"))


# --- churn ------------------------------------------------------------------------------------------------------


@dataclass
class Churn:
    """One round."""

    times: list[float]
    """Seconds of each first ping."""
    lost: int
    put: int
    taken: int
    cpu: float
    """Seconds of the daemon."""
    seconds: float


def churn(backend: Backend, mode: str, rate: float, seconds: float) -> Churn:
    """Clients come at this rate and are removed again."""
    with Lab() as lab:
        site = Site(lab, backend)
        count = round(rate * seconds)
        identities = site.identities(count)
        store = lab.folder / "routes.db"
        with closing(LabRegistry(store)) as registry:
            registry.add(map(registration, identities))
        keys = [identity.private_key.public() for identity in identities]
        stop = threading.Event()

        def remove(began: float) -> None:
            with closing(LabRegistry(store)) as registry:
                gone = 0
                while gone < count and not stop.wait(0.25):
                    due = min(count, round((time.monotonic() - began - STAY) * rate))
                    if due > gone:
                        registry.peers.remove_all(keys[gone:due], by=LAB)
                        gone = due

        options = ("--config", settings(lab.folder, mode))
        daemon = bird(site.gateway)
        with Gateway(site.gateway, site.server.name, *options, store=store) as gateway, site.load(identities) as load:
            process = Process(gateway.process.pid)
            before, began = process.cpu(), time.monotonic()
            remover = threading.Thread(target=remove, args=(began,))
            remover.start()
            load.run([number / rate for number in range(count)], seconds=seconds)
            cpu, took = process.cpu() - before, time.monotonic() - began
            routes = gateway.status().get("routes") or {"put": 0, "taken": 0}
            stop.set()
            remover.join()
        daemon.close()
        site.server.clear()
        times = [connect.up - connect.intended for connect in load.connects if connect.up is not None]
        return Churn(times, count - len(times), routes["put"], routes["taken"], cpu, took)


def tell_churn(report: Report, backend: Backend, rate: float, seconds: float, rounds: int) -> list[str]:
    """Run and tell the rounds; gives what was missed."""
    found: dict[str, list[Churn]] = {"off": [], "residents": []}
    for _ in range(rounds):
        for mode, seen in found.items():
            seen.append(churn(backend, mode, rate, seconds))
    rows, missed, p99s, pace = [], [], {}, 0.0
    for mode, seen in found.items():
        times = [each for one in seen for each in one.times]
        lost = sum(one.lost for one in seen)
        # the middle of the rounds: one that something else on the machine has disturbed must not decide
        p99s[mode] = statistics.median(percentile(one.times, 0.99) for one in seen)
        minutes = sum(one.seconds for one in seen) / 60
        put, taken = (sum(getattr(one, name) for one in seen) / minutes for name in ("put", "taken"))
        pace = min(put, taken)
        connects = sum(len(one.times) for one in seen)
        cpu = sum(one.cpu for one in seen) / connects * 1e6
        rows.append(
            (
                mode, f"{connects:,}", str(lost), f"{put:,.0f}", f"{taken:,.0f}",
                f"{statistics.median(times) * 1e3:.2f}", f"{p99s[mode] * 1e3:.1f}", f"{cpu:,.0f}",
            )
        )  # fmt: skip
        if lost:
            missed.append(f"churn: {lost} clients were lost with routes.mode {mode}")
    head = ("routes.mode", "connects", "lost", "routes in a minute", "out", "p50 ms", "p99 ms", "daemon's CPU, µs each")
    report.table(head, rows)
    ratio = p99s["residents"] / p99s["off"]
    report.say(f"p99 with routes over p99 without: {ratio:.2f}.")
    if not ratio <= RATIO:
        missed.append(f"churn: p99 is {ratio:.2f} times as long with routes, goal {RATIO}")
    if pace < 0.8 * IN_A_MINUTE:  # the first and last seconds have only one of the two
        missed.append(f"churn: only {pace:,.0f} routes a minute came and went")
    return missed


# --- moves ------------------------------------------------------------------------------------------------------


@dataclass
class Move:
    """Seconds from the client's first ping. None: never."""

    ping: float | None
    reached: float | None
    shifted: float | None
    """Until the router's kernel sends the client's packets to the new gateway, as far as a look each 2 ms tells."""


def until_answered(raw: socket.socket, address: str, patience: float) -> float | None:
    """Ping an address every 10 ms from a raw socket; the monotonic time of the first reply."""
    end = time.monotonic() + patience
    ident = os.urandom(2)
    rest = ident + bytes(10)
    message = struct.pack(">BBH", 8, 0, checksum(struct.pack(">BBH", 8, 0, 0) + rest)) + rest
    while (now := time.monotonic()) < end:
        raw.sendto(message, (address, 0))
        while (left := now + 0.01 - time.monotonic()) > 0:
            if not select.select([raw], [], [], left)[0]:
                break
            answer, (source, _) = raw.recvfrom(2048)
            if source == address and answer[20] == 0 and answer[24:26] == ident:
                return time.monotonic()
    return None


def moves(fleet: Fleet, inside: Inside, rounds: int, pause: float) -> list[Move]:
    """Clients come by one gateway, and then by the other."""
    hosts = [f"10.8.{1 + number // 250}.{1 + number % 250}" for number in range(rounds)]
    keys = [PrivateKey.generate() for _ in range(rounds)]
    peers = [Peer(key.public(), (ipaddress.ip_network(host),)) for key, host in zip(keys, hosts, strict=True)]
    fleet.registry.add(peers)
    fleet.spread(peers[-1])
    machine = fleet.machine()
    addresses = [f"{host}/32" for host in hosts]
    client = Client(
        machine, fleet.key.public(), fleet.members[0].endpoint, addresses, ["10.8.0.0/16"], backend=fleet.backend
    )
    found: list[Move] = []
    with (
        ThreadPoolExecutor(2) as threads,
        inside.host.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw,
    ):
        for number, (key, host) in enumerate(zip(keys, hosts, strict=True)):
            here, there = fleet.members if number % 2 else reversed(fleet.members)
            port = CLIENT_PORT + number
            client.redirect(here.endpoint)
            client.begin_anew(key, port)
            if machine.ping(here.inside, PATIENCE, host) is None:
                found.append(Move(None, None, None))
                continue
            inside.until_it_leads_to(host, here)
            time.sleep(pause)
            client.redirect(there.endpoint)
            client.begin_anew(key, port)
            began = time.monotonic()
            answered = threads.submit(until_answered, raw, host, PATIENCE)
            shifted = threads.submit(_until_led, inside, host, there)
            ping = machine.ping(there.inside, PATIENCE, host)
            seen, led = answered.result(), shifted.result()
            found.append(Move(ping, None if seen is None else seen - began, None if led is None else led - began))
    return found


def _until_led(inside: Inside, host: str, member: object) -> float | None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if inside.leads_to(host) is member:
            return time.monotonic()
        time.sleep(0.002)
    return None


def tell_moves(report: Report, backend: Backend, engine: Engine, rounds: int, pause: float) -> list[str]:
    """Run and tell the moves by each routing daemon; gives what was missed."""
    rows, missed = [], []
    daemons: tuple[Daemon, ...] = ("bird", "frr")
    for name in daemons:
        with Lab() as lab, Fleet(lab, engine, backend) as fleet, Inside(fleet, name) as inside:
            fleet.up(routes={"mode": "residents", "metric": "claim"})
            seen = moves(fleet, inside, rounds, pause)
        columns = [[getattr(one, what) for one in seen] for what in ("ping", "shifted", "reached")]
        for what, times in zip(("first ping", "router's route", "reached from inside"), columns, strict=True):
            there = [each for each in times if each is not None]
            spread = (statistics.median(there or [math.nan]), percentile(there, 0.99), max(there, default=math.nan))
            rows.append(
                (name, what, str(len(times)), str(len(times) - len(there)), *(f"{s * 1e3:.1f}" for s in spread))
            )
            if len(there) < len(times):
                missed.append(f"moves, {name}: {what}: {len(times) - len(there)} of {len(times)} never came")
        if not percentile([each for each in columns[2] if each is not None], 0.99) <= REACHED:
            missed.append(f"moves, {name}: reached from inside later than after {REACHED:g} s (p99)")
    report.table(("daemon", "what", "moves", "never", "p50 ms", "p99 ms", "max ms"), rows)
    return missed


# --- held -------------------------------------------------------------------------------------------------------


def prefixes(peers: int, each: int) -> Iterator[tuple[AllowedIP, ...]]:
    """More prefixes for each peer."""
    first = int(ipaddress.IPv4Address("10.128.0.0"))
    for number in range(peers):
        start = first + number * each
        yield tuple(ipaddress.IPv4Network(start + step) for step in range(each))


class Held:
    """A daemon that holds many routes, with BIRD beside it."""

    def __init__(self, lab: Lab, backend: Backend, peers: int, each: int) -> None:
        self.lab, self.site, self.wanted = lab, Site(lab, backend), peers * each
        self.identities = self.site.identities(peers)
        self.store = lab.folder / "held.db"
        with closing(LabRegistry(self.store)) as registry:
            more = prefixes(peers, each - 1)
            registry.add(
                replace(peer, allowed_ips=(*peer.allowed_ips, *others))
                for peer, others in zip(map(registration, self.identities), more, strict=True)
            )
        self.rows: list[tuple[str, str, str, str]] = []
        self.missed: list[str] = []

    def up(self, mode: str) -> None:
        """Start the daemon with this `routes.mode`, and be sure which process is meant."""
        options = ("--config", settings(self.lab.folder, mode))
        self.gateway = Gateway(self.site.gateway, self.site.server.name, *options, store=self.store)
        self.process = Process(self.gateway.process.pid)

    def run(self, idle: float) -> None:
        """All of it."""
        machine = self.site.gateway
        for mode in ("off", "residents"):
            self.bird = bird(machine)
            self.up(mode)
            with self.taking(f"{len(self.identities):,} peers connect, routes.mode {mode}"):
                self.connect()
            if mode == "residents":
                self.hold(machine, idle)
            self.gateway.stop()
            self.bird.close()
            self.site.server.clear()

    def connect(self) -> None:
        with self.site.load(self.identities) as load:
            load.run([number / 100 for number in range(len(self.identities))])
        if lost := sum(connect.up is None for connect in load.connects):
            self.missed.append(f"held: {lost} clients were lost")

    def hold(self, machine: Namespace, idle: float) -> None:
        with self.taking(f"until {self.wanted:,} routes are there"):
            wait_until(self.is_done, PATIENCE)
        self.wait_for_bird()
        before = self.process.cpu()
        with self.taking("with nothing to do"):
            time.sleep(idle)
        share = (self.process.cpu() - before) / idle
        self.rows[-1] = (f"with nothing to do: {share:.1%} of a CPU", *self.rows[-1][1:])
        machine.run("ip", "route", "flush", "proto", "87")
        with self.taking("after a flush, until all are back"):
            wait_until(lambda: kernel_count(machine) == self.wanted and self.is_done(), PATIENCE)
        self.wait_for_bird()
        news = self.lab.folder / "news"
        with news.open("w") as file:
            monitor = machine.popen("ip", "-4", "monitor", "route", stdout=file)
            self.gateway.kill()
            began = time.monotonic()
            self.up("residents")
            self.tell(
                "a killed daemon's successor is ready", time.monotonic() - began, self.process.cpu(), self.process
            )
            with self.taking("until it has compared all routes"):
                wait_until(self.has_compared, PATIENCE)
            monitor.terminate()
            monitor.wait()
        if away := sum(line.startswith("Deleted") for line in news.read_text().splitlines()):
            self.missed.append(f"held: {away} routes were away after a restart")

    def is_done(self) -> bool:
        routes = self.gateway.status()["routes"]
        return bool(routes["there"] == self.wanted and not routes["waiting"] and not routes["failing"])

    def has_compared(self) -> bool:
        return self.is_done() and self.gateway.status()["routes"]["dumps"] > 0

    def wait_for_bird(self) -> None:
        with self.taking("until BIRD has them all (CPU and memory: BIRD's)", Process(self.bird.process.pid)):
            wait_until(lambda: self.bird.count("protocol", "kernel4") == self.wanted, PATIENCE)

    @contextmanager
    def taking(self, what: str, process: Process | None = None) -> Iterator[None]:
        """A row of the table: what the block takes the daemon, or another process."""
        one = process or self.process
        before, began = one.cpu(), time.monotonic()
        yield
        self.tell(what, time.monotonic() - began, one.cpu() - before, one)

    def tell(self, what: str, seconds: float, cpu: float, process: Process) -> None:
        self.rows.append((what, f"{seconds:.2f}", f"{cpu:.2f}", f"{process.memory() / MIB:.1f}"))


def tell_held(report: Report, backend: Backend, peers: int, each: int, idle: float) -> list[str]:
    """Hold many routes; gives what was missed."""
    with Lab() as lab:
        held = Held(lab, backend, peers, each)
        try:
            held.run(idle)
        finally:
            report.table(("what", "seconds", "CPU s", "RSS MiB"), held.rows)
        return held.missed


def kernel_count(machine: Namespace) -> int:
    """Number of our routes in the kernel."""
    return machine.run("ip", "route", "show", "proto", "87").count("\n")


# --- all of it --------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench routes", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--rate", type=float, default=180.0, help="clients a second of the churn (180)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a round of the churn (30)")
    parser.add_argument("--rounds", type=int, default=3, help="of the churn, with and without (3)")
    parser.add_argument("--moves", type=int, default=100, help="by each routing daemon (100)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between a client's two gateways (1)")
    parser.add_argument("--peers", type=int, default=1000, help="that hold routes (1000)")
    parser.add_argument("--each", type=int, default=100, help="routes of each (100)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of nothing with all routes (60)")
    add_option(parser)
    options = parser.parse_args()
    backend: Backend = options.backend
    report = Report("routes", options.write, section=section_for("routes", backend))
    report.head()
    began = time.monotonic()
    missed: list[str] = []
    if "churn" in options.parts:
        missed += tell_churn(report, backend, options.rate, options.seconds, options.rounds)
    if "moves" in options.parts:
        with Lab() as lab, Engine(lab) as engine:
            missed += tell_moves(report, backend, engine, options.moves, options.pause)
    if "held" in options.parts:
        missed += tell_held(report, backend, options.peers, options.each, options.idle)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())
