"""Handed-out configurations on wireguard-go."""

from __future__ import annotations

from tests.contracts.handing_out import HandingOutContract


class TestHandingOutOnWireguardGo(HandingOutContract):
    backend = "go"
