"""A gateway dies, and its clients are led to another one: for how long is each client silent?

Two gateways with one key, one service address and PostgreSQL, and clients that talk all the time through one of them.
Its daemon, its WireGuard and its link are killed at once. After --shift seconds, which stand for what routing takes,
the service address leads to the other gateway. A client's silence is counted from that moment until its next reply, and
in all. The same is done with a clock of the other gateway's daemon that is 100 ms behind, since its takeovers have to
count more than the dead gateway's; and without `takeover.addresses`, where clients knock by themselves.

Goals, with takeovers: 99 % of the clients are taken over before they knock; p99 of the silence after the shift at most
3 s; and p50 at most 50 ms and one interval in which a client sends, of no more clients than may be called at once
(round trips are short here). Then a flood of data from endpoints that nobody knows, for --flood seconds: less than 10 %
of a CPU for the daemon, no session moved, and clients are taken over in it. Ends with status 1 otherwise.

`./dev bench failover` runs in a guest with kernel WireGuard. With `--backend go` it runs on this kernel, with
wireguard-go.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import math
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import bench.plot
from bench.load.identities import fresh, registration
from bench.report import Report, add_option, section_for
from bench.talkers import Talker, Talkers
from lab.fleet.engine import Engine
from lab.fleet.member import PORT, SERVICE, Member
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.registry_service import wait_until
from lab.wireguard import Backend
from wgjit.core.takeover.turns import BURST

PATIENCE = 120.0
"""Seconds for what has to come about before something is measured."""
LONGEST = 25.0
"""Seconds after the shift for which silence is waited for: a knock comes after 15 to 15.4 s, and once more after 5."""
LEAST = 0.05
MOST = 3.0
CPU = 0.10
SHARED: dict[str, object] = {"addresses": [SERVICE]}
TAKEN = 0.99
"""Share of the clients that are taken over."""
_PREFIX = ipaddress.IPv4Network("10.8.0.0/16")
_OUTSIDE = ipaddress.IPv4Network("198.19.0.0/16")
"""Each client has an address of its own there: calls to one address are limited."""


class Way(NamedTuple):
    """How clients come to the other gateway."""

    what: str
    takes_over: bool
    clock: float = 0.0
    """Seconds by which the other gateway's clock is ahead."""


WAYS = (Way("called", True), Way("called, its clock 0.1 s behind", True, -0.1), Way("own knock", False))


def prepared(fleet: Fleet, count: int, every: float) -> Talkers:
    """Clients that are registered, and known to all gateways."""
    identities = fresh(count, _PREFIX, skip=0x3000)
    fleet.registry.add(registration(identity) for identity in identities)
    fleet.spread(registration(identities[-1]))
    server = fleet.key.public()
    talkers = [Talker(number, one, server) for number, one in enumerate(identities)]
    return Talkers(fleet.machine(str(_OUTSIDE)), _OUTSIDE, talkers, every)


def connected(fleet: Fleet, talkers: Talkers, here: Member, there: Member, *, takes_over: bool) -> None:
    """Wait until all clients talk, and the other gateway knows who holds them."""
    count = len(talkers.talkers)
    wait_until(lambda: talkers.all_talk(time.monotonic() - 2.0), PATIENCE)
    wait_until(lambda: here.status()["holding"] == count, PATIENCE)

    def is_known() -> bool:
        takeover = there.status()["takeover"]
        return takeover["off"] is None and takeover["shared_with"] == [here.name] and takeover["known"] >= count

    if takes_over:
        wait_until(is_known, PATIENCE)


class Silences(NamedTuple):
    """Of all clients, in order, seconds."""

    shift: float
    """What routing took, from the gateway's death."""
    after: list[float]
    """From the shift to the next reply."""
    whole: list[float]
    """The longest pause between two replies."""
    knocks: int
    """Clients that have knocked by themselves."""
    cpu: float
    """CPU seconds of the daemon, for each client."""


def silences(fleet: Fleet, count: int, every: float, shift: float, way: Way) -> Silences:
    """Kill a gateway, and see for how long each client is silent."""
    a, b = fleet.members
    takes_over = way.takes_over
    settings: dict[str, dict[str, object]] = {"takeover": SHARED if takes_over else {}, "gateway": {"source_rate": 1e5}}
    b.up(clock=way.clock, **settings)
    fleet.up(**settings)
    with prepared(fleet, count, every) as talkers:
        connected(fleet, talkers, a, b, takes_over=takes_over)
        talkers.lag = 0.0
        knocked = talkers.knocks()
        used = cpu_seconds(b.running.process.pid)
        died = time.monotonic()
        a.die()
        time.sleep(max(0.0, died + shift - time.monotonic()))
        fleet.serve_by(b)
        moved = time.monotonic()
        with contextlib.suppress(AssertionError):  # the silence goes on, and shows so
            wait_until(lambda: talkers.all_talk(moved), LONGEST)
        time.sleep(1.0)  # a pause that is under way has its end
        end = time.monotonic()
        whole = sorted(talker.silence(died, end) for talker in talkers.talkers)
        after = sorted(next((at for at in one.replies if at > moved), end) - moved for one in talkers.talkers)
        again = talkers.knocked_since(knocked)
        print(f"{count} clients: {b.status().get('takeovers', {})}{talkers.lateness()}", file=sys.stderr)
        return Silences(moved - died, after, whole, again, (cpu_seconds(b.running.process.pid) - used) / count)


def percentile(times: Sequence[float], share: float) -> float:
    """Of times in order."""
    return times[math.ceil(len(times) * share) - 1] if times else math.nan


# --- flood ------------------------------------------------------------------------------------------------------


class Flooder:
    """Sends transport data from many endpoints that nobody knows, as fast as one thread can."""

    def __init__(self, fleet: Fleet, endpoints: int = 200) -> None:
        machine = fleet.machine("198.18.0.0/16")
        self._sockets = machine.call(
            lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(endpoints)]
        )
        for number, udp in enumerate(self._sockets):
            udp.bind((f"198.18.{number}.1", 4000))
            udp.connect((SERVICE, PORT))
        self.sent = 0
        self._done = threading.Event()
        self._process = 0

    def run(self, seconds: float) -> float:
        """Flood from a process of its own. Returns packets a second."""
        read, write = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if not child:
            sent, message = 0, b"\4\0\0\0" + bytes(124)
            while time.monotonic() < began + seconds:
                for udp in self._sockets:
                    for _ in range(8):
                        with contextlib.suppress(OSError):
                            udp.send(message)
                            sent += 1
            os.write(write, str(sent).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as said:
            self.sent = int(said.read() or "0")
        os.waitpid(child, 0)
        return self.sent / (time.monotonic() - began)

    def close(self) -> None:
        for udp in self._sockets:
            udp.close()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, without its children."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flood(report: Report, fleet: Fleet, seconds: float, count: int) -> list[str]:
    """Flood the gateway to which clients are then led."""
    a, b = fleet.members
    fleet.up(takeover=SHARED, gateway={"source_rate": 1e5})
    with prepared(fleet, count, 0.25) as talkers:
        connected(fleet, talkers, a, b, takes_over=True)
        pid = b.running.process.pid
        quiet = cpu_seconds(pid)
        time.sleep(3.0)
        quiet = (cpu_seconds(pid) - quiet) / 3.0
        # The flood goes where the clients are led.
        flooder = Flooder(fleet)
        fleet.internet.ip(f"route replace {SERVICE}/32 via {b.address}")
        moved = time.monotonic()
        wait_until(lambda: talkers.all_talk(moved), LONGEST)
        before = dict(b.status().get("takeovers", {}))
        used, began = cpu_seconds(pid), time.monotonic()
        rate = flooder.run(seconds)
        share = (cpu_seconds(pid) - used) / (time.monotonic() - began)
        after = dict(b.status().get("takeovers", {}))
        fleet.serve_by(a)
        wait_until(lambda: a.status()["holding"] == count, PATIENCE)
        thread = threading.Thread(target=flooder.run, args=(6.0,))
        thread.start()
        fleet.serve_by(b)
        moved = time.monotonic()
        wait_until(lambda: b.status()["holding"] == count, PATIENCE)
        took = time.monotonic() - moved
        thread.join()
        flooder.close()
    row = (f"{rate:,.0f}", f"{share * 100:.1f} %", f"{quiet * 100:.1f} %", str(after != before), f"{took:.1f} s")
    head = ("packets/s", "daemon's CPU", "without the flood", "sessions moved by it", f"{count} clients led here in it")
    report.table(head, [row])
    missed = []
    if share > CPU + quiet:
        missed.append(f"flood: the daemon takes {share * 100:.1f} % of a CPU, goal {CPU * 100:.0f} %")
    if after != before:
        missed.append(f"flood: strays were seen: {after}")
    return missed


# --- all of it --------------------------------------------------------------------------------------------------


def parser_for(name: str, page: str | None, clients: list[int], most: float) -> argparse.ArgumentParser:
    """The options of a bench whose clients talk while the service address moves; `clients` and `most` are defaults."""
    parser = argparse.ArgumentParser(prog=f"./dev bench {name}", description=(page or "").splitlines()[0])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    default = " ".join(map(str, clients))
    parser.add_argument("--clients", type=int, nargs="*", default=clients, help=f"of each run ({default})")
    parser.add_argument("--shift", type=float, default=0.3, help="seconds until the address has moved (0.3)")
    parser.add_argument("--every", type=float, default=0.05, help="seconds between two echoes of one client (0.05)")
    parser.add_argument("--most", type=float, default=most, help=f"echoes a second of all clients, at most ({most:g})")
    add_option(parser)
    return parser


def main() -> int:
    parser = parser_for("failover", __doc__, [50, 1000], 1000.0)
    parser.add_argument("--flood", type=float, default=20.0, help="seconds of flood; 0 leaves it out (20)")
    options = parser.parse_args()
    backend: Backend = options.backend
    report = Report("failover", options.write, section=section_for("failover", backend))
    report.head()
    began = time.monotonic()
    missed: list[str] = []
    rows: list[tuple[str, ...]] = []
    series: dict[str, list[tuple[float, float]]] = {}
    with Lab() as lab, Engine(lab) as engine:
        for count in options.clients:
            every = max(options.every, count / options.most)
            for way in WAYS:
                with Lab() as own, Fleet(own, engine, backend) as fleet:
                    found = silences(fleet, count, every, options.shift, way)
                p50, p99 = statistics.median(found.after), percentile(found.after, 0.99)
                whole = f"{found.shift:.2f}", f"{statistics.median(found.whole):.2f}", f"{found.whole[-1]:.2f}"
                times = f"{p50:.2f}", f"{p99:.2f}", f"{found.after[-1]:.2f}"
                rows.append(
                    (
                        str(count),
                        way.what,
                        f"{every * 1000:.0f} ms",
                        *times,
                        *whole,
                        str(found.knocks),
                        f"{found.cpu * 1000:.1f}",
                    )
                )
                series[f"{count}, {way.what}"] = [
                    (at, 100 * number / count) for at, number in bench.plot.cumulative(found.after)
                ]
                if way.takes_over and found.knocks > (1 - TAKEN) * count:
                    missed.append(f"{count} clients, {way.what}: {found.knocks} knocked")
                if way.takes_over and count <= BURST and p50 > LEAST + every:
                    missed.append(f"{count} clients: p50 {p50:.3f} s after the shift, goal {LEAST + every:.3f}")
                if way.takes_over and p99 > MOST:
                    missed.append(f"{count} clients: p99 {p99:.2f} s after the shift, goal {MOST:g}")
        head = (
            *("clients", "how they come", "each sends every", "silent after routing for s, p50", "p99", "max"),
            *("routing took s", "silent in all, p50", "max", "knocked", "daemon's CPU ms a client"),
        )
        report.table(head, rows)
        title = "Silence after routing has led a dead gateway's clients elsewhere"
        plot = bench.plot.lines(title, series, "seconds", "clients, %", log_x=True)
        report.plot("failover" if backend == "kernel" else "failover-go", plot, title)
        if options.flood:
            with Lab() as own, Fleet(own, engine, backend) as fleet:
                missed += flood(report, fleet, options.flood, 50)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())
