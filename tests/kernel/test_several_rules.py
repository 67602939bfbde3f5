"""Queues and rules of one daemon on two interfaces of kernel WireGuard."""

from __future__ import annotations

from tests.contracts.several_rules import SeveralRulesContract


class TestSeveralRulesOnKernelWireGuard(SeveralRulesContract):
    pass
