"""Whether an interface is up, and whether its UDP socket is in this network namespace.

WireGuard opens its socket in the namespace in which the interface was made, and keeps it there when the interface is
moved to another one (https://www.wireguard.com/netns/). Packets of clients then come to the first namespace, and a
capture in the second one never sees an initiation.
"""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1
_TABLES = ("/proc/thread-self/net/udp", "/proc/thread-self/net/udp6")


def why_down(interface: str) -> str | None:
    """Why the interface carries nothing; None if it is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            answer = fcntl.ioctl(link, _SIOCGIFFLAGS, struct.pack("16sh14x", interface.encode(), 0))
        except OSError as error:
            return f"{interface}: {error.strerror}"
    (flags,) = struct.unpack_from("h", answer, 16)
    return None if flags & _IFF_UP else f"is down; ip link set {interface} up"


def is_bound(port: int) -> bool | None:
    """Whether any UDP socket of this network namespace has this port. None if the kernel's tables cannot be read.

    The kernel walks all its UDP sockets for this, which takes about a millisecond.
    """
    wanted = f"{port:04X}"
    seen = None
    for table in _TABLES:
        try:
            with open(table) as rows:
                next(rows, None)
                seen = False
                if any(row.split(None, 2)[1].rpartition(":")[2] == wanted for row in rows):
                    return True
        except OSError:  # a kernel without IPv6, or no /proc
            continue
    return seen


def why_deaf(interface: str, port: int) -> str | None:
    """Why no packet for the interface comes to this network namespace, with the remedy; None if none is known of."""
    if why_down(interface) is not None or is_bound(port) is not False:
        return None
    return (
        f"no UDP socket of this network namespace has port {port}, although {interface} is up: it was made in another "
        "namespace, where its socket has stayed and its clients' packets come; make it in the namespace in which wgjit "
        "runs (docs/DELIVERY.md, network namespaces)"
    )
