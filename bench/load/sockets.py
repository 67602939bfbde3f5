"""A UDP socket for each client: a source port of its own, and an address of its own where there are some to give.

A real crowd comes from many addresses, and a gateway limits what it takes from one: `prefix` gives each client another.
The machine must take all of it for its own (`ip route add local PREFIX dev lo`); no interface needs to have them.
"""

from __future__ import annotations

import fcntl
import ipaddress
import resource
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wgjit.model import Endpoint

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network

_IP_FREEBIND: Final = 15  # linux/in.h
_IPV6_FREEBIND: Final = 78  # linux/in6.h
_SPARE: Final = 256
"""Descriptors for everything else that the process does."""
_SELECTABLE: Final = 1024
"""Descriptors that select(2) takes (FD_SETSIZE). A crowd leaves them to others: the engine waits by it, as epoll's own
timeout is in whole milliseconds."""
SITE: Final = 1 << 64
"""Addresses in an IPv6 /64, which counts as one source."""


def allow_descriptors(count: int) -> None:
    """Let this process open so many sockets. Raises OSError with what to do if it may not."""
    needed = _lowest(count) + count + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (ValueError, OSError) as error:
        most = Path("/proc/sys/fs/nr_open").read_text().strip()
        raise OSError(
            f"{count} clients need {needed} open files, and this process may have {hard}: run as root, or raise "
            f"`ulimit -n` (the kernel's own limit is {most}, fs.nr_open)"
        ) from error


def _lowest(count: int) -> int:
    """The first descriptor of so many sockets."""
    return 0 if count + _SPARE <= _SELECTABLE else _SELECTABLE


def _opened(family: socket.AddressFamily, lowest: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if one.fileno() >= lowest:
        return one
    with one:
        moved = socket.socket(fileno=fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, lowest))
    moved.setblocking(False)
    return moved


def source(prefix: Prefix, number: int) -> str:
    """The address of client `number`: in IPv6 one of the next /64, if the prefix has some. Raises ValueError."""
    step = SITE if prefix.version == 6 and prefix.num_addresses > SITE else 1
    offset = number * step + 1
    if offset >= prefix.num_addresses - (prefix.version == 4):
        raise ValueError(f"prefix {prefix}: has no address for client {number}; give a wider one")
    return str(prefix[offset])


def open_sockets(count: int, server: Endpoint, prefix: Prefix | None = None) -> list[socket.socket]:
    """One for each client, non-blocking. Call it inside the namespace that they are to be in.

    Raises ValueError for a prefix that is too small or of another family than the server, OSError.
    """
    if prefix is not None and (prefix.version == 4) != (server.family == socket.AF_INET):
        raise ValueError(f"prefix {prefix}: the server {server} is of the other address family")
    allow_descriptors(count)
    made: list[socket.socket] = []
    try:
        for number in range(count):
            made.append(one := _opened(server.family, _lowest(count)))
            if prefix is not None:
                level, option = (
                    (socket.IPPROTO_IP, _IP_FREEBIND) if prefix.version == 4 else (socket.IPPROTO_IPV6, _IPV6_FREEBIND)
                )
                one.setsockopt(level, option, 1)
                one.bind((source(prefix, number), 0))
            else:
                one.bind(("", 0))  # a port from the start, so that no two clients wait for one at once
    except BaseException:
        close(made)
        raise
    return made


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for one in sockets:
        one.close()
