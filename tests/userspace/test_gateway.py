"""The gateway on wireguard-go, on whatever kernel this machine has."""

from __future__ import annotations

import os
import signal
import threading

from lab.netns import Lab
from tests.contracts.gateway_anywhere import GatewayAnywhereContract
from tests.contracts.gateway_site import INSIDE, Site, seamless


class TestGatewayOnWireguardGo(GatewayAnywhereContract):
    backend = "go"


def test_a_flip_that_crossed_the_clients_own_initiation_is_run_again() -> None:
    """A WireGuard that stands still finds the knock and the install at once, and often takes the install first."""
    with Lab() as lab:
        site = Site(lab, "go")
        with site.up("flip") as gateway:
            pid = site.server.pid
            assert pid is not None
            for _ in range(20):
                client = site.client()
                os.kill(pid, signal.SIGSTOP)
                go_on = threading.Timer(0.05, os.kill, (pid, signal.SIGCONT))
                go_on.start()
                try:
                    assert seamless(client.first_ping(INSIDE[0]))
                finally:
                    go_on.join()
                if gateway.status()["flips"].get("repeated", 0) >= 2:
                    break
            else:
                raise AssertionError("no flip crossed a knock: what is tested here did not happen")
        site.registry.close()
