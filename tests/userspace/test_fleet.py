"""A fleet's registry under load, with wireguard-go."""

from __future__ import annotations

from tests.contracts.fleet import FleetContract


class TestFleetOnWireguardGo(FleetContract):
    backend = "go"
