"""A fleet's registry under load: the real `wgjit api`, a real gateway that asks it, 200 clients at 20 a second.

What is counted is requests and refusals; times are measured by `./dev bench fleet`. Only the patience is not as it is
by default, since the machine may be busy.
"""

from __future__ import annotations

from bench.fleet import MOST_REQUESTS, Fleet
from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import wait_for


class FleetContract:
    """Subclass with a `backend`."""

    backend: Backend

    def test_200_clients_at_20_a_second_are_served_and_the_api_is_hardly_asked(self) -> None:
        with Lab() as lab, Fleet(lab, self.backend, 200, timeout=3.9) as fleet:
            run = fleet.play(20.0, 0.0)
            registry = run.staying["registry"]
            assert (run.result.up, run.result.lost) == (200, 0)
            assert run.store_failed == 0
            assert (registry["failures"], registry["throttled"], registry["stale_answers"]) == (0, 0, 0)
            assert registry["requests"] <= MOST_REQUESTS * 200
            assert not run.staying["faults"]

            # Nobody was asked for again meanwhile, and yet a revocation counts at once.
            gone = fleet.peers[7].public_key
            fleet.api.registry.remove(gone)
            wait_for(lambda: gone not in fleet.site.server.peers(), 20.0)
            assert len(fleet.site.server.peers()) == 199
