"""One daemon for two interfaces, on wireguard-go."""

from __future__ import annotations

from tests.contracts.several import SeveralContract


class TestSeveralOnWireguardGo(SeveralContract):
    backend = "go"
