"""Eviction from wireguard-go."""

from __future__ import annotations

from tests.contracts.gateway_eviction import EvictionContract


class TestEvictionFromWireguardGo(EvictionContract):
    backend = "go"
