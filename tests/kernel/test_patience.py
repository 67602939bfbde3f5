"""What takes its true time: nobody leaves within 180 s of a handshake. Some four minutes, nearly all of it waiting, so
it has a guest of its own beside the others."""

from __future__ import annotations

import time

from lab.netns import Lab
from tests.contracts.gateway_eviction import pinging
from tests.contracts.gateway_site import INSIDE, LONG, Site, seamless
from wgjit.core.settings import Pace

PACE = Pace()


def test_who_is_idle_leaves_after_180_s_and_not_before_and_sessions_in_use_never_do() -> None:
    with Lab() as lab:
        site = Site(lab, "kernel")
        idle, active, receiving = (site.client() for _ in range(3))
        address = str(receiving.addresses[0].ip)
        with site.up_with(idle_timeout=180) as gateway, gateway.feed() as feed:
            for client in (idle, active, receiving):
                assert seamless(client.first_ping(INSIDE[0]))
            handshake = site.server.peer(idle.public_key).last_handshake
            assert handshake
            with pinging(active) as lost:
                answers = []
                while idle.public_key in site.server.peers():
                    # Data to this one only ever comes from the gateway's side.
                    answers.append(site.gateway.ping(address, timeout=30.0))
                    assert time.time() < handshake + PACE.session + 3 * PACE.interval + LONG
                    time.sleep(5)
                assert time.time() >= handshake + PACE.session, "it left within 180 s of its handshake"
                answers.append(site.gateway.ping(address, timeout=30.0))
            assert not lost
            assert None not in answers
            assert gateway.status()["departures"] == {"idle": 1}
            assert set(site.server.peers()) == {active.public_key, receiving.public_key}
            idle.forget()
            assert seamless(idle.first_ping(INSIDE[0]))
            records = [feed.next(public_key=str(idle.public_key)) for _ in range(2)]
            assert [record["decision"] for record in records] == ["installed", "installed"]
        site.registry.close()
