"""The lab's fleet with wireguard-go."""

from __future__ import annotations

from tests.contracts.fleet_lab import FleetLabContract


class TestFleetLabOnWireguardGo(FleetLabContract):
    backend = "go"
