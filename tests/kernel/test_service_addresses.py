"""From which address kernel WireGuard begins handshakes."""

from __future__ import annotations

from tests.contracts.service_addresses import SourceContract
from tests.contracts.service_addresses import own_fleet as own_fleet


class TestSourceOnKernelWireGuard(SourceContract):
    pass
