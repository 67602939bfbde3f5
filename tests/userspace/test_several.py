"""One daemon on two interfaces of wireguard-go."""

from __future__ import annotations

from tests.contracts.several import SeveralContract


class TestSeveralOnWireguardGo(SeveralContract):
    pass
