"""One daemon on two interfaces of kernel WireGuard."""

from __future__ import annotations

from tests.contracts.several import SeveralContract


class TestSeveralOnKernelWireGuard(SeveralContract):
    pass
