"""The lab's fleet with kernel WireGuard, and delay, for which the host may have no netem."""

from __future__ import annotations

import time

import psycopg

from lab.fleet.site import Fleet
from tests.contracts.fleet_lab import FleetLabContract


class TestFleetLabOnKernelWireGuard(FleetLabContract):
    backend = "kernel"

    def test_the_link_to_the_engine_can_be_long(self, fleet: Fleet) -> None:
        a, b = fleet.members
        url = fleet.engine.url(fleet.database)
        a.link.delay(0.3)
        with a.namespace.call(psycopg.connect, url) as far, b.namespace.call(psycopg.connect, url) as near:
            near.execute("SELECT 1")
            started = time.monotonic()
            far.execute("SELECT 1")
            assert time.monotonic() - started >= 0.3
