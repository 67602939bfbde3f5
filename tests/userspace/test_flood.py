"""Floods on wireguard-go, which defends itself as the kernel does."""

from __future__ import annotations

from tests.contracts.flood import FloodContract


class TestFloodsOnWireguardGo(FloodContract):
    pass
