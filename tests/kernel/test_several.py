"""One daemon for two interfaces, on kernel WireGuard."""

from __future__ import annotations

from tests.contracts.several import SeveralContract


class TestSeveralOnKernelWireGuard(SeveralContract):
    backend = "kernel"
