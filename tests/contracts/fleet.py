"""A fleet's registry under load: the real `wgjit api`, a real gateway that asks it, 100 clients at 5 per second.

The test counts requests and refusals. `./dev bench fleet` lets clients come at 20 per second and measures times. Here,
rate and time limits are chosen so that a busy machine can keep them.
"""

from __future__ import annotations

from bench.fleet import MOST_REQUESTS, Fleet
from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import wait_for

CLIENTS, PACE = 100, 5.0
"""So many, a second."""


class FleetContract:
    """Subclass with a `backend`."""

    backend: Backend

    def test_who_comes_is_served_and_the_api_is_hardly_asked(self) -> None:
        with Lab() as lab, Fleet(lab, self.backend, CLIENTS, timeout=3.9) as fleet:
            run = fleet.play(PACE, 0.0)
            registry = run.staying["registry"]
            assert (run.result.up, run.result.lost) == (CLIENTS, 0)
            assert run.store_failed == 0
            assert (registry["failures"], registry["throttled"], registry["stale_answers"]) == (0, 0, 0)
            assert registry["requests"] <= MOST_REQUESTS * CLIENTS
            assert not run.staying["faults"]

            # Nobody was asked for again meanwhile, and yet a revocation counts at once.
            gone = fleet.peers[7].public_key
            fleet.api.registry.remove(gone)
            wait_for(lambda: gone not in fleet.site.server.peers(), 20.0)
            assert len(fleet.site.server.peers()) == CLIENTS - 1
