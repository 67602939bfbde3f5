"""The gateways that share a registry file: none, since a fleet shares a registry in PostgreSQL."""

from __future__ import annotations

from wgjit.stores import checks
from wgjit.stores.entries import Author, GatewayEntry


class Gateways:
    """Implements `wgjit.stores.base.Gateways`."""

    def every(self) -> list[GatewayEntry]:
        """An empty list."""
        return []

    def forget(self, name: str, *, by: Author) -> GatewayEntry:
        """Raises NoSuchGateway."""
        raise checks.no_such_gateway(name)
