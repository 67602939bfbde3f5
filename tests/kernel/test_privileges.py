"""Least privilege on kernel WireGuard; and the queue rules that come back after a firewall's reload."""

from __future__ import annotations

from tests.contracts.gateway_site import INSIDE, Site, seamless, wait_for
from tests.contracts.privileges import PrivilegesContract


class TestPrivilegesOnKernelWireGuard(PrivilegesContract):
    backend = "kernel"
    delivery = "hold"

    def test_the_rules_survive_a_reload_of_the_firewall(self, site: Site) -> None:
        """Made anew by the heartbeat, with no more rights than before."""
        before, after = site.client(), site.client()
        with self.up(site) as gateway, gateway.feed() as feed:
            assert seamless(before.first_ping(INSIDE[0]))
            rules = site.gateway.run("nft", "list", "ruleset")
            assert "queue flags bypass" in rules
            site.gateway.run("nft", "flush", "ruleset")
            wait_for(lambda: "queue flags bypass" in site.gateway.run("nft", "list", "ruleset"))
            assert seamless(after.first_ping(INSIDE[0]))
            assert feed.next(public_key=str(after.public_key))["delivery"] == "hold"
            assert gateway.status()["faults"] == {}
