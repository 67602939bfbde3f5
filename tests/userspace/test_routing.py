"""Routes of residents with wireguard-go."""

from tests.contracts.routing import RoutingContract
from tests.contracts.routing import inside as inside


class TestRoutingOnWireguardGo(RoutingContract):
    pass
