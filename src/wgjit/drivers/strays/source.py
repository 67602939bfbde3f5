"""From which address this machine sends to an endpoint.

WireGuard has no local address for a peer that was given an endpoint, so the route chooses it. With a service address
the route has to name it (`src`), or the client would be called from an address that only this machine has.
"""

from __future__ import annotations

import contextlib
import socket

from wgjit.wire.endpoint import Endpoint


def source_to(endpoint: Endpoint, fwmark: int = 0) -> bytes | None:
    """The packed address from which a packet of WireGuard with this mark would go; None if there is no route.

    Nothing is sent. This takes some 15 µs. Without CAP_NET_ADMIN a mark is left out.
    """
    with socket.socket(endpoint.family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as udp:
        if fwmark:
            with contextlib.suppress(PermissionError):
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, fwmark)
        try:
            host = (endpoint.host, endpoint.port or 1)
            udp.connect(host if endpoint.family == socket.AF_INET else (*host, 0, endpoint.scope))
        except OSError:
            return None
        return socket.inet_pton(endpoint.family, udp.getsockname()[0].partition("%")[0])
