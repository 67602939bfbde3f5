"""Eviction from kernel WireGuard."""

from __future__ import annotations

from tests.contracts.gateway_eviction import EvictionContract


class TestEvictionFromKernelWireGuard(EvictionContract):
    backend = "kernel"
