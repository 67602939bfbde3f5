"""The HTTP API among hostile connections: `python -m bench.api` (`./dev bench api`).

The real `wgjit api` serves a registry of `PEERS` peers on its Unix socket and on TLS. Honest callers ask for pages of
peers in three ways: over one kept TLS connection, over a new TLS connection for each request, and over the Unix socket.
They first ask alone. Then 2,000 hostile connections (`bench.hostile`) are there, too, which reconnect whenever they are
ended, and 50 slow imports by tokens of scope `write`. Ends with status 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import quantiles

from bench.report import ROOT, Report, add_option, check_above_zero
from lab.certificate import make_certificate
from lab.registry import LabRegistry
from wgjit.model import Peer, PublicKey
from wgjit.stores.entries import Author, Scope

PEERS = 2000
PAUSE = 0.02
"""Seconds between two requests of an honest caller."""

P99 = 250.0
"""Limit, milliseconds, of each kind of honest caller among the hostile ones."""
MEMORY = 200
"""Limit, MiB: the most that the API ever held."""
LINES = 100
"""Limit, lines in its log."""

BY = Author("bench")
KINDS = ("TLS, a kept connection", "TLS, a new connection each", "Unix socket")


@dataclass
class Asked:
    """How an honest caller was answered."""

    seconds: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """What came in the place of an answer with status 200."""

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return 1000 * quantiles(self.seconds, n=100, method="inclusive")[49]

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return 1000 * quantiles(self.seconds, n=100, method="inclusive")[98]


@dataclass
class Outcome:
    """What was measured: by kind of honest caller, alone and among the hostile ones."""

    alone: dict[str, Asked]
    among: dict[str, Asked]
    memory: int
    """MiB."""
    cpu: float
    """Of one core, what the API took among the hostile ones; 1.0 is all of it."""
    log: list[str]
    hostile: dict[str, int]


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("wgjit", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


def main(words: Sequence[str] | None = None) -> int:
    """The command. Gives its exit status."""
    parser = argparse.ArgumentParser(prog="./dev bench api", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--connections", type=int, default=2000, help="hostile connections")
    parser.add_argument("--imports", type=int, default=50, help="slow imports")
    parser.add_argument("--requests", type=int, default=1000, help="of each kind of honest caller")
    add_option(parser)
    options = parser.parse_args(words)
    check_above_zero(parser, options, "connections", "imports", "requests")
    report = Report("api", options.write)
    report.head(words)
    report.say(f"Others on this machine before it began: load average {os.getloadavg()[0]:.1f}.")
    outcome = measure(options.connections, options.imports, options.requests)
    status = tell(report, outcome)
    report.finish()
    return status


def tell(report: Report, outcome: Outcome) -> int:
    """Put the outcome into a report; 1 if a limit is missed."""
    missed = []
    rows = []
    for kind in KINDS:
        alone, among = outcome.alone[kind], outcome.among[kind]
        rows.append(
            (
                kind,
                f"{alone.p50:.1f}",
                f"{alone.p99:.1f}",
                f"{among.p50:.1f}",
                f"{among.p99:.1f}",
                f"{1000 * max(among.seconds):.0f}",
                str(len(among.seconds)),
                str(len(among.others)),
            )
        )
        if among.others:
            missed.append(f"{kind}: {len(among.others)} requests were not answered: {sorted(set(among.others))}")
        if among.p99 > P99:
            missed.append(f"{kind}: p99 {among.p99:.0f} ms, limit {P99:.0f}")
    head = ("honest caller", "alone: p50 ms", "p99 ms", "among hostile: p50 ms", "p99 ms", "max ms", "answered", "not")
    report.table(head, rows)
    report.say(
        f"Memory at most {outcome.memory} MiB, {len(outcome.log)} lines of log, {outcome.cpu:.0%} of a core. "
        "The hostile ones: " + ", ".join(f"{what} {count:,}" for what, count in sorted(outcome.hostile.items())) + "."
    )
    if outcome.memory > MEMORY:
        missed.append(f"memory: {outcome.memory} MiB, limit {MEMORY}")
    if len(outcome.log) > LINES:
        missed.append(f"log: {len(outcome.log)} lines, limit {LINES}")
    report.say("\n\n".join(f"MISSED {each}" for each in missed) or "all limits kept")
    return 1 if missed else 0


def measure(connections: int, imports: int, requests: int) -> Outcome:
    """Run it. Nothing of it is left behind."""
    with tempfile.TemporaryDirectory(prefix="wgjit-bench-") as name:
        folder = Path(name)
        honest, greedy = _registry(folder, max(1, imports // 5))
        make_certificate(folder / "cert.pem", folder / "key.pem")
        with _api(folder) as (process, about):
            host, _, port = str(about["listen"]).rpartition(":")
            ways = _ways(folder, host, int(port), honest)
            alone = _ask(ways, requests)
            tokens = [greedy[number % len(greedy)] for number in range(imports)]
            with _hostile(host, port, connections, tokens) as hostile:
                before, began = _cpu(process.pid), time.monotonic()
                among = _ask(ways, requests)
                cpu = (_cpu(process.pid) - before) / (time.monotonic() - began)
            status = Path(f"/proc/{process.pid}/status").read_text()
        memory = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024
        return Outcome(alone, among, memory, cpu, (folder / "log").read_text().splitlines(), hostile)


def _cpu(process: int) -> float:
    """Seconds of processor time that it has taken so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _registry(folder: Path, greedy: int) -> tuple[str, list[str]]:
    """Make it; gives an honest caller's token, and those of the slow imports."""
    with contextlib.closing(LabRegistry(folder / "wg0.db", timeout=5)) as registry:
        first = int(ipaddress.ip_address("10.8.0.1"))
        peers = (
            Peer(PublicKey(os.urandom(32)), (ipaddress.ip_network(first + number),), name=f"peer {number}")
            for number in range(PEERS)
        )
        while some := list(islice(peers, 500)):
            registry.peers.adopt(some, by=BY)
        honest = registry.tokens.create("honest", Scope.READ, by=BY, rate=100_000)[1]
        return honest, [registry.tokens.create(f"greedy {n}", Scope.WRITE, by=BY)[1] for n in range(greedy)]


@contextlib.contextmanager
def _api(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, object]]]:
    """The process, and what it says of itself."""
    (folder / "wg0.toml").write_text(
        f'[store]\npath = "{folder}/wg0.db"\n[api]\nlisten = "127.0.0.1:0"\nsocket = "{folder}/api.sock"\n'
        f'tls_certificate_file = "{folder}/cert.pem"\ntls_private_key_file = "{folder}/key.pem"\n'
    )
    command = [Path(sys.executable).parent / "wgjit", "api", "wg0", "--config", folder / "wg0.toml"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WGJIT_")}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env={**clean, "WGJIT_RUN_FOLDER": str(folder)}
        )
    assert process.stdout
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the API does not start: {(folder / 'log').read_text()}")
        yield process, json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


@contextlib.contextmanager
def _hostile(host: str, port: str, connections: int, tokens: list[str]) -> Iterator[dict[str, int]]:
    """Strangers and slow imports, all of them there while the block runs; afterwards filled with their counts."""
    counts: dict[str, int] = {}
    command = [sys.executable, "-m", "bench.hostile", host, port, str(connections), str(len(tokens))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write("".join(f"{token}\n" for token in tokens))
        process.stdin.flush()
        if process.stdout.readline() != "all there\n":
            raise RuntimeError("the hostile process ended before its time")
        yield counts
        process.stdin.close()
        counts |= json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


def _ways(
    folder: Path, host: str, port: int, token: str
) -> dict[str, tuple[Callable[[], http.client.HTTPConnection], bool, str]]:
    """By kind: how a connection is made, whether it is kept, and the token."""
    trusted = ssl.create_default_context(cafile=folder / "cert.pem")

    def tls() -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(host, port, context=trusted, timeout=60)

    kept, new, local = KINDS
    return {
        kept: (tls, True, token),
        new: (tls, False, token),
        local: (lambda: _Unix(str(folder / "api.sock")), True, token),
    }


def _ask(
    ways: dict[str, tuple[Callable[[], http.client.HTTPConnection], bool, str]], requests: int
) -> dict[str, Asked]:
    """Ask so often in each way, all ways at the same time."""
    found = {kind: Asked() for kind in ways}
    threads = [threading.Thread(target=_caller, args=(*way, requests, found[kind])) for kind, way in ways.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _caller(
    make: Callable[[], http.client.HTTPConnection], keeps: bool, token: str, requests: int, asked: Asked
) -> None:
    connection = make()
    for _ in range(requests):
        began = time.perf_counter()
        try:
            if not keeps:
                connection.close()
                connection = make()
            connection.request("GET", "/v1/peers?limit=10", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                asked.others.append(str(answer.status))
        except (OSError, http.client.HTTPException) as error:
            asked.others.append(type(error).__name__)
            connection.close()
            connection = make()
        asked.seconds.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
