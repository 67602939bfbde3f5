"""The gateway on wireguard-go, on whatever kernel this machine has."""

from __future__ import annotations

from tests.contracts.gateway import GatewayContract


class TestGatewayOnWireguardGo(GatewayContract):
    backend = "go"
