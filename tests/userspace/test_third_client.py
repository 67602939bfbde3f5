"""A third implementation's client at a gateway with wireguard-go."""

from __future__ import annotations

from tests.contracts.third_client import ThirdClientContract


class TestThirdClientAtWireguardGo(ThirdClientContract):
    backend = "go"
