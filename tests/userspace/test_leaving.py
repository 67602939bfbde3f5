"""Drain and health with wireguard-go."""

from __future__ import annotations

from tests.contracts.leaving import LeavingContract


class TestLeavingOnWireguardGo(LeavingContract):
    pass
