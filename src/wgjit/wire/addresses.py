"""Addresses and prefixes as WireGuard's own tools read them (inet_pton and a decimal length), and nothing else.

Python's `ipaddress` takes more: netmasks and host masks for a length (`10.8.0.2/0.0.0.0` is 0.0.0.0/0), zones
(`fe80::1%eth0`), numbers. What `wg` refuses would then mean something here, and often something wide.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from wgjit.errors import InvalidValue
from wgjit.wire.key_text import quoted

_LENGTH = re.compile(r"[0-9]{1,3}")
_WRITE = "write a prefix such as 10.8.0.2/32 or fd00::2/128"


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Read `10.8.0.2` or `fd00::2`. Raises InvalidValue, which says what is wrong."""
    text = text.strip()
    family, address = (socket.AF_INET6, IPv6Address) if ":" in text else (socket.AF_INET, IPv4Address)
    try:
        return address(socket.inet_pton(family, text))
    except (OSError, ValueError):  # ValueError: a NUL, or no ASCII
        raise InvalidValue(f"{quoted(text)}: {_why(text)}") from None


def parse_prefix(text: str, *, mask_host_bits: bool = False) -> IPv4Network | IPv6Network:
    """Read `10.8.0.2`, `10.8.0.2/32` or `fd00::/64`. Raises InvalidValue, which says what is wrong.

    `mask_host_bits`: `10.8.0.2/24` is 10.8.0.0/24, as for `wg`. Otherwise it is an error.
    """
    read = parse_interface(text)
    if not mask_host_bits and read.ip != read.network.network_address:
        raise InvalidValue(f"{quoted(text.strip())}: bits are set behind the prefix; write {read.network} or {read.ip}")
    return read.network


def parse_interface(text: str) -> IPv4Interface | IPv6Interface:
    """Read an address with the length of its network, `10.8.0.1/16`. Raises InvalidValue, which says what is wrong."""
    text = text.strip()
    host, slash, length = text.partition("/")
    try:
        address = parse_address(host)
    except InvalidValue:
        raise InvalidValue(f"{quoted(text)}: {_why(host)}; {_WRITE}") from None
    most = address.max_prefixlen
    if not slash:
        length = str(most)
    if not _LENGTH.fullmatch(length) or int(length) > most:
        if any(map(str.isspace, length)):
            raise InvalidValue(f"{quoted(text)}: {_why(length)}; {_WRITE}")
        kind = "a mask" if re.search(r"[.:]", length) else "what is behind the slash"
        raise InvalidValue(f"{quoted(text)}: {kind} is no length of 0 to {most}; {_WRITE}")
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, int(length)))
    return IPv6Interface((address, int(length)))


def _why(host: str) -> str:
    """What is wrong with an address."""
    if "%" in host:
        return "a zone, what is behind %, is no part of an address here"
    if host[:1] in "+-" and host:
        return "a + or - before a prefix is for `wg set` alone"
    if any(map(str.isspace, host)):
        return "a blank stands in it; separate prefixes by commas"
    return "is no IPv4 or IPv6 address"
