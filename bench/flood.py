"""Floods of initiations, and how they affect new clients and residents. One table, a row for each flood.

        attacker ── 10.66.0.0/24 ──┐
                                   gateway, 10.8.0.1 in the tunnel, no peer installed
    client N ── 10.10.N.0/24 ──────┘

The attacker sends 20,000 initiations per second of one kind (see `packets`), from one source or from 50,000 spoofed
sources. Meanwhile a new client knocks every second. It is registered, not installed, and a real WireGuard client with
its own machine and address. Residents make a new handshake in turn, every two seconds. `WireGuard alone` is the same
flood with all peers installed beforehand and no gateway, so only the kernel's own defence (cookies, retry after 5 s).

Goals: all new clients connect and all rekeys succeed within 60 s (the time that a rekey has, from REKEY_AFTER_TIME to
REJECT_AFTER_TIME). The daemon's memory grows by no more than its bounded tables. After the flood, a new client connects
at once, no peer is installed that should not be, and nothing waits or has failed.

`seen` counts the packets that the daemon read. Packets of a source over its limit, and packets that come while the
queue is full, pass by the daemon. On User-Mode Linux, flooder, kernel, daemon and all clients share one CPU, so the
table shows the rate that was reached. Run it there with `./dev bench flood`, some 15 minutes for all floods, or on this
kernel with wireguard-go by `--backend go`.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bench.packets import KINDS, frames, sources
from bench.plot import bars
from bench.processes import Process
from bench.report import Report, add_option
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend, Client, WireGuard, peer_section
from wgjit.model import Endpoint, Peer, PrivateKey

PORT = 51820
INSIDE = "10.8.0.1"
TARGET = Endpoint.parse(f"10.66.0.1:{PORT}")
MESSAGES = 25_000
"""Distinct messages of a flood: at 20,000 a second none comes twice within a second."""
SPOOFED = 50_000
RESIDENTS = 3
PATIENCE = 60.0
"""Seconds that a connect or a rekey may take at all."""
PROMPT = 2.0
"""Seconds: no retry of the client, which comes after five, has helped."""
MEMORY_LIMIT = 64 << 20
"""Bytes by which the daemon may grow."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Outcome:
    """What one flood did."""

    kind: str
    spoofed: bool
    wgjit: bool
    rate: float = 0.0
    """Packets per second that were really sent."""
    connects: list[float | None] = field(default_factory=list)
    """Seconds for each new client; None: not within PATIENCE."""
    rekeys: list[float | None] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """The daemon's resident bytes: first before, last after the flood, samples in between."""
    cpu: float = 0.0
    """The daemon's share of one CPU."""
    afterwards: float | None = None
    """Seconds that a new client needed when the flood was over."""
    strangers: int = 0
    """Peers in the device at the end who should not be there."""
    status: dict[str, Any] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """The goals that were not reached."""
        name = f"{self.kind} from {SPOOFED if self.spoofed else 1}"
        missed = []
        for what, times in (("new clients", self.connects), ("rekeys", self.rekeys)):
            if lost := sum(s is None for s in times):
                missed.append(f"{name}: {lost} of {len(times)} {what} did not get through within {PATIENCE:.0f} s")
            if not times:
                missed.append(f"{name}: no {what} were tried")
        if not self.wgjit:
            return missed
        grown = max(self.memory) - self.memory[0]
        if grown > MEMORY_LIMIT:
            missed.append(f"{name}: memory grew by {grown >> 20} MiB, limit {MEMORY_LIMIT >> 20}")
        if self.afterwards is None or self.afterwards > PROMPT:
            missed.append(f"{name}: after the flood a new client needed {_seconds(self.afterwards)} s")
        if self.strangers:
            missed.append(f"{name}: {self.strangers} peers are installed that should not be")
        if self.status["waiting"]:
            missed.append(f"{name}: {self.status['waiting']} knocks wait for ever")
        if self.status["faults"]:
            missed.append(f"{name}: faults {self.status['faults']}")
        return missed


class Site:
    """The network of this module's head."""

    def __init__(self, lab: Lab, backend: Backend, clients: int) -> None:
        self.lab = lab
        self.gateway, self.attacker = lab.namespace("gw"), lab.namespace("evil")
        self.link = lab.link(self.gateway, self.attacker, ["10.66.0.1/24"], ["10.66.0.2/24"])
        # Answers to made-up sources go back to where these came from, and are dropped there: nobody forwards.
        self.gateway.ip("route add default via 10.66.0.2")
        self.server = WireGuard(self.gateway, ["10.8.0.1/16"], listen_port=PORT, backend=backend)
        self.victim = PrivateKey.generate().public()
        self.path = lab.folder / "peers.db"
        self._messages: dict[str, list[bytes]] = {}
        self.clients = [self._client(number) for number in range(1, clients + 1)]
        registry = LabRegistry(self.path)
        registry.add([Peer(self.victim, (ipaddress.ip_network("10.8.255.1/32"),)), *self.registered])
        registry.close()

    @property
    def registered(self) -> list[Peer]:
        """What the registry holds of the clients."""
        return [client.registration for client in self.clients]

    def _client(self, number: int) -> Client:
        machine = self.lab.namespace(f"c{number}")
        self.lab.link(self.gateway, machine, [f"10.10.{number}.1/24"], [f"10.10.{number}.2/24"])
        return Client(
            machine,
            self.server.public_key,
            f"10.10.{number}.1:{PORT}",
            [f"10.8.0.{number + 1}/32"],
            ["10.8.0.0/16"],
            backend=self.server.backend,
        )

    def flood_file(self, kind: str, senders: Sequence[Endpoint]) -> Path:
        """Prepare a flood's frames."""
        status = json.loads(self.gateway.run("ip", "-json", "link", "show", "dev", self.link.a))
        mac = bytes.fromhex(status[0]["address"].replace(":", ""))
        if kind not in self._messages:  # the same for each row: forging them takes longer than sending them
            self._messages = {kind: list(islice(KINDS[kind](self.server.public_key, self.victim), MESSAGES))}
        messages = self._messages[kind]
        path = self.lab.folder / "frames"
        path.write_bytes(b"".join(frames(messages, senders, TARGET, mac, max(len(messages), len(senders)))))
        return path

    def reset(self, install: bool) -> None:
        """No sessions; all peers in the device, or none."""
        peers = (peer_section(peer.public_key, map(str, peer.allowed_ips)) for peer in self.registered)
        self.server.configure("\n".join(peers) if install else "")
        for client in self.clients:
            client.remove_peer(client.server)
            client.connect()

    def strangers(self) -> int:
        """Peers in the device that are none of the clients."""
        return len(self.server.peers().keys() - {peer.public_key for peer in self.registered})


def connect(client: Client) -> float | None:
    """Seconds until a packet comes back through the tunnel, tried anew each second; None: not within PATIENCE."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        if client.ping(INSIDE, timeout=1.0) is not None:
            return time.monotonic() - began
    return None


def rekey(client: Client) -> float | None:
    """Seconds until a new handshake with a peer that is installed is done."""
    client.forget()
    return connect(client)


class Watch:
    """Samples a process's memory until stopped, and tells its CPU time."""

    def __init__(self, pid: int) -> None:
        self._process = Process(pid)
        self.samples = [self._process.memory()]
        self._cpu, self._began = self._process.cpu(), time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def cpu_share(self) -> float:
        """Of one CPU, since the beginning."""
        return (self._process.cpu() - self._cpu) / (time.monotonic() - self._began)

    def sample(self) -> None:
        """Take one now."""
        self.samples.append(self._process.memory())

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            self.sample()

    def stop(self) -> None:
        """Take the last sample."""
        self._stop.set()
        self._thread.join()
        self.sample()


@contextmanager
def flooding(site: Site, path: Path, rate: float, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The flooder at work."""
    process = site.attacker.popen(
        sys.executable, "-m", "bench.flooder", site.link.b, path, str(rate), str(seconds),
        stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "started\n":
            raise RuntimeError(f"the flooder ended with status {process.wait()}")
        yield process
    finally:
        process.terminate()
        process.wait()


def run(site: Site, kind: str, spoofed: bool, wgjit: bool, rate: float, seconds: int, delivery: str) -> Outcome:
    """One flood."""
    outcome = Outcome(kind, spoofed, wgjit)
    path = site.flood_file(kind, sources(SPOOFED if spoofed else 1))
    site.reset(install=not wgjit)
    residents, last, new = site.clients[:RESIDENTS], site.clients[RESIDENTS], site.clients[RESIDENTS + 1 :]
    with ExitStack() as stack:
        gateway = stack.enter_context(
            Gateway(site.gateway, site.server.name, store=site.path, delivery=delivery)
        ) if wgjit else None  # fmt: skip
        for client in residents:
            if connect(client) is None:
                raise RuntimeError(f"{client}: cannot connect even without a flood")
        watch = Watch(gateway.process.pid) if gateway else None
        if watch:
            stack.callback(watch.stop)
        with ThreadPoolExecutor(len(site.clients)) as threads, flooding(site, path, rate, seconds) as flooder:
            began = time.monotonic()
            connects: list[Future[float | None]] = []
            rekeys: list[Future[float | None]] = []
            for second, client in zip(range(seconds), new, strict=False):
                time.sleep(max(0.0, began + second + 0.5 - time.monotonic()))
                connects.append(threads.submit(connect, client))
                resident = second // 2 % RESIDENTS
                if second % 2 == 0 and all(rekey.done() for rekey in rekeys[resident::RESIDENTS]):
                    rekeys.append(threads.submit(rekey, residents[resident]))
            assert flooder.stdout is not None
            if not (line := flooder.stdout.readline()):
                raise RuntimeError(f"the flooder ended in the middle, with status {flooder.wait()}")
            done = json.loads(line)
            if watch:
                outcome.cpu = watch.cpu_share()
            outcome.rate = done["sent"] / done["seconds"]
            outcome.connects = [future.result() for future in connects]
            outcome.rekeys = [future.result() for future in rekeys]
        time.sleep(1.5)  # the kernel takes itself to be under load for a second more
        outcome.afterwards = connect(last)
        outcome.strangers = site.strangers()
        if gateway and watch:
            outcome.status = gateway.status()
            watch.sample()
            outcome.memory = watch.samples
    return outcome


HEAD = (
    "flood", "sources", "gateway", "packets/s", "seen", "new clients", "at once", "median s", "worst s",
    "rekeys", "worst s", "memory MiB before, most, after", "CPU", "a new one after, s",
)  # fmt: skip


def row(outcome: Outcome) -> tuple[str, ...]:
    """One line of the table."""
    arrived = [s for s in outcome.connects if s is not None]
    rekeyed = [s for s in outcome.rekeys if s is not None]
    memory = [f"{size / (1 << 20):.0f}" for size in outcome.memory]
    seen, unseen = outcome.status.get("captured", 0), outcome.status.get("capture_dropped", 0)
    return (
        outcome.kind,
        f"{SPOOFED:,}" if outcome.spoofed else "1",
        "wgjit" if outcome.wgjit else "WireGuard alone",
        f"{outcome.rate:,.0f}",
        f"{seen / (seen + unseen):.0%}" if outcome.wgjit else "",
        f"{len(arrived)} of {len(outcome.connects)}",
        str(sum(s < PROMPT for s in arrived)),
        _seconds(statistics.median(arrived) if arrived else None),
        _seconds(max(arrived, default=None)),
        f"{len(rekeyed)} of {len(outcome.rekeys)}",
        _seconds(max(rekeyed, default=None)),
        f"{memory[0]}, {max(memory, key=int)}, {memory[-1]}" if memory else "",
        f"{outcome.cpu:.0%}" if outcome.wgjit else "",
        _seconds(outcome.afterwards),
    )


PICTURED = "Of new clients under a flood, in percent: who is connected at once"


def picture(outcomes: Sequence[Outcome]) -> str:
    """Bars: each flood with and without a gateway."""
    floods = list(dict.fromkeys((outcome.kind, outcome.spoofed) for outcome in outcomes))
    series: dict[str, list[float]] = {}
    for wgjit, name in ((False, "WireGuard alone"), (True, "wgjit")):
        found = {(each.kind, each.spoofed): each for each in outcomes if each.wgjit == wgjit}
        if found:
            series[name] = [100 * share_at_once(found[flood]) for flood in floods]
    names = [f"{kind}, {'many' if spoofed else 'one'}" for kind, spoofed in floods]
    return bars(PICTURED, names, series, "percent", high=100.0)


def share_at_once(outcome: Outcome) -> float:
    """Of the new clients, those that needed no retry of their own."""
    return sum(s is not None and s < PROMPT for s in outcome.connects) / max(1, len(outcome.connects))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench flood", description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", choices=["auto", "kernel", "go"], default="auto")
    parser.add_argument("--delivery", default="hold")
    parser.add_argument("--rate", type=float, default=20_000, help="packets per second (default 20,000)")
    parser.add_argument("--seconds", type=int, default=20, help="of each flood (default 20)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--from", dest="senders", nargs="*", choices=["one", "many"], default=["one", "many"])
    parser.add_argument(
        "--alone", action=argparse.BooleanOptionalAction, default=True, help="each flood on WireGuard alone as well"
    )
    parser.add_argument("--details", action="store_true", help="what the daemon counted, on standard error")
    add_option(parser)
    options = parser.parse_args(words)
    report = Report("flood", options.write)
    report.head(words)
    missed: list[str] = []
    outcomes: list[Outcome] = []

    def rows() -> Iterator[tuple[str, ...]]:
        for kind in options.kinds:
            for senders in options.senders:
                for wgjit in (False, True) if options.alone else (True,):
                    outcome = run(site, kind, senders == "many", wgjit, options.rate, options.seconds, options.delivery)
                    if wgjit:
                        missed.extend(outcome.missed())
                    if options.details:
                        print(json.dumps(outcome.status), [_seconds(s) for s in outcome.connects], file=sys.stderr)
                    outcomes.append(outcome)
                    yield row(outcome)

    with Lab() as lab:
        site = Site(lab, options.backend, RESIDENTS + 1 + options.seconds)
        report.say(f"{site.server.backend} WireGuard, {options.delivery}, {options.seconds} s each.")
        report.table(HEAD, rows())
    report.plot("flood", picture(outcomes), PICTURED)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())
