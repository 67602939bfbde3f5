"""Service addresses with wireguard-go."""

from __future__ import annotations

from tests.contracts.service_addresses import ServiceAddressContract


class TestServiceAddressesOnWireguardGo(ServiceAddressContract):
    pass
