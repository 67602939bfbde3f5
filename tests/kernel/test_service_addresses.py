"""Service addresses with kernel WireGuard."""

from __future__ import annotations

from tests.contracts.service_addresses import ServiceAddressContract


class TestServiceAddressesOnKernelWireGuard(ServiceAddressContract):
    pass
