"""The gateway on wireguard-go, on whatever kernel this machine has."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from lab.netns import Lab
from lab.wireguard import peer_section
from tests.contracts.gateway_anywhere import GatewayAnywhereContract
from tests.contracts.gateway_site import INSIDE, Site, seamless
from wgjit.daemon.core_settings import WATCHFUL
from wgjit.model import PublicKey


class TestGatewayOnWireguardGo(GatewayAnywhereContract):
    backend = "go"


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """What the test starts runs on one CPU, so that each wireguard-go has one worker for handshakes.

    With more than one, two messages of crossing handshakes sometimes go through at once, and wireguard-go derives a
    session whose index it has just given up (docs/DELIVERY.md): its own race, after which nothing that we do helps.
    """
    all_cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_cpus)})
    yield
    os.sched_setaffinity(0, all_cpus)


@pytest.mark.usefixtures("one_cpu")
def test_a_flip_that_crossed_the_clients_own_initiation_is_run_again() -> None:
    """A WireGuard that stands still finds the knock and the install at once, and often takes the install first."""
    with Lab() as lab:
        site = Site(lab, "go")
        # A gateway reads a smaller interface before an install, and so waits until WireGuard goes on.
        site.server.configure("".join(peer_section(PublicKey(bytes([n]) * 32)) for n in range(1, WATCHFUL + 1)))
        with site.up("flip") as gateway:
            pid = site.server.pid
            assert pid is not None
            for attempt in range(60):
                client = site.client()
                os.kill(pid, signal.SIGSTOP)
                # The gateway has to see the knock meanwhile: on a busy machine that takes it longer.
                go_on = threading.Timer(min(0.05 * 1.3 ** (attempt % 20), 1.5), os.kill, (pid, signal.SIGCONT))
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
