"""Queues and rules of one daemon on two interfaces of wireguard-go."""

from __future__ import annotations

from tests.contracts.several_rules import SeveralRulesContract


class TestSeveralRulesOnWireguardGo(SeveralRulesContract):
    pass
