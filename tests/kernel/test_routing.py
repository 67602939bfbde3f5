"""Routes of residents with kernel WireGuard."""

from tests.contracts.routing import RoutingContract
from tests.contracts.routing import inside as inside


class TestRoutingOnKernelWireGuard(RoutingContract):
    pass
