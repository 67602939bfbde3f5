"""Somebody else's registry, on wireguard-go."""

from __future__ import annotations

from tests.contracts.remote_registry import RemoteRegistryContract


class TestRemoteRegistryOnWireguardGo(RemoteRegistryContract):
    backend = "go"
