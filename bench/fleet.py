"""A fleet's registry under load: `wgjit api` and a gateway that asks it, with clients that come steadily and stay.

A site is a namespace with an empty interface and the real `wgjit up`. Its `store.url` is a real `wgjit api` in the same
namespace, over TLS, with a token of scope `gateway` and default settings. The clients are those of bench/load/ and have
never connected before. They come at --rate, whatever happened to earlier clients, and stay for --stay seconds more.
Each run has a new site. The same load also runs on a gateway with its own registry file, for comparison.

Counted: the gateway's requests for each new peer, its requests for peers that stay, and knocks that were refused with
`store_failed`. Measured: the time until a client's ping through its session is answered.

Goals: no client is lost or refused with `store_failed`; at most 1.2 requests for each new peer; a peer that stays costs
at most one request in each `store.time_to_live` (300 s). Ends with status 1 otherwise.

`./dev bench fleet` runs on this kernel, with its WireGuard or with wireguard-go.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.load.identities import registration
from bench.load.result import Result
from bench.load.site import Site
from bench.report import Report, add_option, check_above_zero
from lab.api_service import ApiService
from lab.gateway import Gateway
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.registry_service import wait_until
from lab.wireguard import Backend
from wgjit.model import Peer

MOST_REQUESTS: Final = 1.2
"""Of a new peer."""
TIME_TO_LIVE: Final = 300.0
"""Seconds: store.time_to_live as it is by default."""


@dataclass(frozen=True)
class Run:
    """One load on one gateway."""

    result: Result
    coming: dict[str, Any]
    """The gateway's status when all had come."""
    staying: dict[str, Any]
    """And at the end."""
    stay: float
    """Seconds in between."""

    @property
    def requests(self) -> float:
        """For each new peer."""
        return float(self.coming["registry"]["requests"]) / self.result.clients

    @property
    def upkeep(self) -> int:
        """Requests while they stayed."""
        return int(self.staying["registry"]["requests"]) - int(self.coming["registry"]["requests"])

    @property
    def store_failed(self) -> int:
        """Knocks that the registry could not be asked for."""
        return int(self.staying["refusals"].get("store_failed", 0))

    def failures(self) -> list[str]:
        """What is not as it should be."""
        told = []
        if self.result.lost:
            told.append(f"{self.result.lost} clients were lost")
        if self.store_failed:
            told.append(f"{self.store_failed} knocks were refused with store_failed")
        if self.requests > MOST_REQUESTS:
            told.append(f"{self.requests:.2f} requests for each new peer, {MOST_REQUESTS} at most")
        most = self.result.clients * (self.stay + self.result.seconds) / TIME_TO_LIVE
        if self.upkeep > most:
            told.append(f"{self.upkeep} requests while they stayed, {most:.0f} at most")
        return told


class Fleet:
    """A gateway and the API that it asks, on a site of their own; a context manager."""

    def __init__(self, lab: Lab, backend: Backend, count: int, **settings: float) -> None:
        """`settings` are added to the gateway's section [store]."""
        self.site = Site(lab, backend)
        self.identities = self.site.identities(count, preshared=True)
        self.peers: list[Peer] = [registration(each) for each in self.identities]
        self.api = ApiService(lab.folder / "api", self.site.gateway.popen)
        self.api.registry.add(self.peers)
        self._settings = "".join(f"{name} = {value:g}\n" for name, value in settings.items())

    def __enter__(self) -> Fleet:
        self.api.__enter__()
        path = self.site.lab.folder / "fleet.toml"
        deadline = "[gateway]\nhold_deadline = 4\n" if self._settings else ""
        path.write_text(deadline + self.api.settings + self._settings)
        self.gateway = Gateway(self.site.gateway, self.site.server.name, "--config", path, store=None)
        wait_until(lambda: self.gateway.status()["registry"]["following"] == "yes")
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.stop()
        self.api.__exit__()

    def play(self, rate: float, stay: float) -> Run:
        """Let all come, and stay."""
        with self.site.load(self.identities) as load:
            load.prepare(2)
            result = load.run([number / rate for number in range(len(self.identities))])
            coming = self.gateway.status()
            time.sleep(stay)
            return Run(result, coming, self.gateway.status(), stay)


def play_local(lab: Lab, backend: Backend, count: int, rate: float) -> Result:
    """The same load, on a gateway whose registry is a file."""
    site = Site(lab, backend)
    identities = site.identities(count, preshared=True)
    path = lab.folder / "local.db"
    registry = LabRegistry(path)
    registry.add([registration(each) for each in identities])
    registry.close()
    with Gateway(site.gateway, site.server.name, store=path), site.load(identities) as load:
        load.prepare(2)
        return load.run([number / rate for number in range(count)])


HEAD = (
    "registry", "clients", "rate /s", "requests a new peer", "requests while they stayed", "store_failed",
    "connect p50 ms", "p90 ms", "p99 ms", "without a retry", "lost",
)  # fmt: skip


def row(run: Run | Result, rate: float) -> tuple[str, ...]:
    """One line of the table; of a Result alone, that on a file."""
    result = run.result if isinstance(run, Run) else run
    where, counts = "a file", ("-", "-", "-")
    if isinstance(run, Run):
        where = "`wgjit api`"
        counts = f"{run.requests:.2f}", f"{run.upkeep} in {run.stay:g} s", str(run.store_failed)
    spread = result.up_after
    times = ("-" if value is None else f"{value * 1000:.1f}" for value in (spread.p50, spread.p90, spread.p99))
    return where, str(result.clients), f"{rate:g}", *counts, *times, str(result.at_once), str(result.lost)


def main(words: Sequence[str] | None = None) -> int:
    """The command; gives its exit status."""
    parser = argparse.ArgumentParser(prog="./dev bench fleet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200, help="how many come")
    parser.add_argument("--rate", type=float, default=20.0, help="so many each second")
    parser.add_argument("--stay", type=float, default=60.0, help="seconds for which they stay")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", choices=("auto", "kernel", "go"), default="auto")
    add_option(parser)
    options = parser.parse_args(words)
    check_above_zero(parser, options, "clients", "rate", "stay", "rounds")
    report = Report("fleet", options.write)
    report.head(words)
    runs: list[Run] = []

    def rows() -> Iterator[tuple[str, ...]]:
        for _ in range(options.rounds):
            with Lab() as lab:
                yield row(play_local(lab, options.backend, options.clients, options.rate), options.rate)
            with Lab() as lab, Fleet(lab, options.backend, options.clients) as fleet:
                runs.append(fleet.play(options.rate, options.stay))
            yield row(runs[-1], options.rate)

    report.table(HEAD, rows())
    failures = [text for run in runs for text in run.failures()]
    return report.conclude(failures)


if __name__ == "__main__":
    sys.exit(main())
