"""Somebody else's registry, on kernel WireGuard."""

from __future__ import annotations

from tests.contracts.remote_registry import RemoteRegistryContract


class TestRemoteRegistryOnKernelWireGuard(RemoteRegistryContract):
    backend = "kernel"
