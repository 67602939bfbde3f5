"""A fleet in trouble, with wireguard-go. What goes wrong has nothing to do with WireGuard, so no guest runs these."""

from __future__ import annotations

from tests.contracts.floating_outages import OutageContract


class TestOutagesOnWireguardGo(OutageContract):
    backend = "go"
