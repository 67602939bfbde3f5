"""The benchmarks' clients against kernel WireGuard."""

from __future__ import annotations

from tests.contracts.load import LoadContract


class TestLoadOnKernelWireGuard(LoadContract):
    backend = "kernel"
