"""Service addresses with wireguard-go, and the daemons that move them, to which WireGuard makes no difference."""

from __future__ import annotations

from tests.contracts.service_addresses import ServiceAddressContract, SourceContract
from tests.contracts.service_addresses import own_fleet as own_fleet


class TestServiceAddresses(ServiceAddressContract):
    pass


class TestSourceOnWireguardGo(SourceContract):
    pass
