"""Clients that the network leads to another gateway, with wireguard-go; and clocks, which a lab can set apart."""

from tests.contracts.takeover import ClocksContract, TakeoverContract


class TestTakeoverOnWireguardGo(TakeoverContract):
    pass


class TestClocks(ClocksContract):
    pass
