"""Drain and health with kernel WireGuard."""

from __future__ import annotations

from tests.contracts.leaving import LeavingContract


class TestLeavingOnKernelWireGuard(LeavingContract):
    pass
