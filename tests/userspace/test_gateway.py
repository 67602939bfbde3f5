"""The gateway on wireguard-go, on whatever kernel this machine has."""

from __future__ import annotations

from tests.contracts.gateway_anywhere import GatewayAnywhereContract


class TestGatewayOnWireguardGo(GatewayAnywhereContract):
    backend = "go"
