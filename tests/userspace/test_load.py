"""The benchmarks' clients against wireguard-go."""

from __future__ import annotations

from tests.contracts.load import LoadContract


class TestLoadOnWireguardGo(LoadContract):
    backend = "go"
