"""Least privilege on wireguard-go, with what this machine's kernel has."""

from __future__ import annotations

from tests.contracts.privileges import PrivilegesContract


class TestPrivilegesOnWireguardGo(PrivilegesContract):
    backend = "go"
    delivery = "hold"
