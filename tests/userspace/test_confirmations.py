"""The signs of a confirmed session: those of wireguard-go, and of packets that come out of it."""

from tests.contracts.confirmations import ConfirmationsContract, LastHandshakeContract


class TestLastHandshake(LastHandshakeContract):
    pass


class TestConfirmations(ConfirmationsContract):
    pass
