"""Floods on kernel WireGuard."""

from __future__ import annotations

from tests.contracts.flood import FloodContract


class TestFloodsOnKernelWireGuard(FloodContract):
    pass
