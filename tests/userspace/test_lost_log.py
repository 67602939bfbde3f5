"""Logs that nobody reads, with wireguard-go."""

from tests.contracts.lost_log import LostLogContract


class TestLostLogOnWireguardGo(LostLogContract):
    backend = "go"
