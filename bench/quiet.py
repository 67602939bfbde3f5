"""How little a fleet writes to its registry of record while all residents are in use, and none comes, leaves or moves.

A gateway of a fleet, PostgreSQL, and --residents clients. An hour is made short, and a handshake comes each four
seconds instead of each 120, so that all that happens in an hour happens in a minute. What is written to claims and
holdings is counted by PostgreSQL itself, and multiplied for 100,000 residents and a whole hour. Beside it stands what
arithmetic says: one row for each refresh.

Goal: fewer than 50 rows a second for 100,000 residents. Ends with status 1 otherwise.

`./dev bench quiet` runs in a guest with kernel WireGuard. With `--backend go` it runs on this kernel, with
wireguard-go.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.load.client import Client
from bench.load.engine import Load
from bench.load.identities import fresh, registration
from bench.load.sockets import close, open_sockets
from bench.report import Report, add_option, check_above_zero, section_for
from lab.fleet.engine import Engine
from lab.fleet.member import INSIDE, PORT
from lab.fleet.site import Fleet
from lab.netns import Lab
from lab.wireguard import Backend
from wgjit.core.residents.holders import REFRESH
from wgjit.model import Endpoint

OUTSIDE = ipaddress.IPv4Network("198.18.0.0/15")
WITHIN = ipaddress.IPv4Network("10.8.64.0/18")
REKEY = 4.0
"""Seconds between two handshakes of a client."""
RESIDENTS, ROWS = 100_000, 50.0
COUNTED = """
    SELECT relname, n_tup_ins + n_tup_upd FROM pg_stat_user_tables
    WHERE schemaname = 'wgjit' AND relname IN ('claims', 'holdings', 'gateways', 'changes', 'peers')"""


class Counter:
    """Rows written to the tables of a registry, as PostgreSQL counts them."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def rows(self) -> dict[str, int]:
        """Inserts and updates so far, by table. What a session has done is counted within a second or so."""
        with self._fleet.engine.serving.shell(self._fleet.engine.serving.url(self._fleet.database)) as shell:
            return {str(name): int(str(count)) for name, count in shell.execute(COUNTED).fetchall()}


@contextmanager
def in_use(fleet: Fleet, count: int, seconds: float) -> Iterator[None]:
    """Clients that come within the first REKEY seconds, stay for so long, and then rekey each REKEY seconds."""
    member, machine = fleet.members[0], fleet.machine(str(OUTSIDE))
    identities = fresh(count, WITHIN)
    fleet.registry.add(map(registration, identities))
    fleet.spread(registration(identities[-1]))
    server = Endpoint(ipaddress.ip_address(member.address).packed, PORT)
    sockets = machine.call(open_sockets, count, server, OUTSIDE)
    inside = ipaddress.ip_address(INSIDE)
    clients = [Client(number, each, fleet.key.public(), inside) for number, each in enumerate(identities)]
    load = Load(clients, sockets, server)
    starts = [REKEY * number / count for number in range(count)]
    thread = threading.Thread(target=lambda: load.run(starts, rekey_every=REKEY, seconds=seconds))
    thread.start()
    try:
        yield
    finally:
        thread.join()
        close(sockets)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench quiet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=("kernel", "go"), default="kernel", help="go: on this kernel")
    parser.add_argument("--residents", type=int, default=300, help="clients (300)")
    parser.add_argument("--hour", type=float, default=60.0, help="seconds that an hour takes (60)")
    add_option(parser)
    options = parser.parse_args()
    check_above_zero(parser, options, "residents", "hour")
    backend: Backend = options.backend
    short = options.hour * REFRESH / 3600.0
    report = Report("quiet", options.write, section=section_for("quiet", backend))
    report.head()
    with Lab() as lab, Engine(lab) as engine, Fleet(lab, engine, backend, names=("a",)) as fleet:
        (member,) = fleet.members
        member.up(hasty={"HASTY_IDLE": "600", "HASTY_REFRESH": f"{short}"})
        counter = Counter(fleet)
        lead = short + 2 * REKEY  # all have come, and have said it again once
        with in_use(fleet, options.residents, lead + 2 * options.hour + 2 * REKEY):
            time.sleep(lead)
            before, began = counter.rows(), time.monotonic()
            time.sleep(2 * options.hour)
            after, took = counter.rows(), time.monotonic() - began
            status = member.status()
    hours = took / options.hour
    scale = RESIDENTS / options.residents / hours / 3600.0
    rows = []
    total = 0.0
    for table in ("claims", "holdings"):
        written = after[table] - before[table]
        total += written * scale
        rows.append((table, f"{written:,}", f"{written / hours / options.residents:.2f}", f"{written * scale:.1f}"))
    rows.append(("both", "", "", f"{total:.1f}"))
    report.table(
        ("rows written to", f"in {hours:.1f} short hours", "a resident, an hour", "a second, 100,000 residents"), rows
    )
    handshakes = status["decisions"].get("resident", 0)
    report.say(
        f"{status['residents']} residents made {handshakes:,} handshakes after their first. "
        f"Arithmetic: a row for each refresh after {REFRESH / 60:.0f} min is {RESIDENTS / REFRESH:.1f} rows a second."
    )
    missed = [f"{total:.1f} rows a second for 100,000 residents, goal {ROWS:g}"] if total >= ROWS else []
    if after["peers"] != before["peers"] or after["changes"] != before["changes"]:
        missed.append("something else was written")
    return report.conclude(missed)


if __name__ == "__main__":
    sys.exit(main())
