"""Floating peers with wireguard-go."""

from __future__ import annotations

from tests.contracts.fleet_engine import fleet as fleet
from tests.contracts.floating import FloatingContract


class TestFloatingOnWireguardGo(FloatingContract):
    pass
