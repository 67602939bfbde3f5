"""The outer address of one end of a tunnel."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple, Self

from wgjit.errors import InvalidValue
from wgjit.wire.key_text import quoted

V4_IN_V6 = bytes(10) + b"\xff\xff"
"""The beginning of an IPv4-mapped address."""


class Endpoint(NamedTuple):
    """An IP address and a UDP port.

    `address` is packed: 4 bytes for IPv4, 16 for IPv6, network order. `scope` is the interface index of an IPv6
    link-local address, else 0. Packed bytes compare and hash fast, which the feed needs.
    """

    address: bytes
    port: int
    scope: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `192.0.2.1:51820` or `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`. Raises InvalidValue."""
        host, _, port = text.rpartition(":")
        try:
            if not (
                port.isascii() and port.isdigit() and int(port) <= 65535
            ):  # no answer can go to port 0, but packets come from it
                raise ValueError
            if host.startswith("[") and host.endswith("]"):
                host, _, zone = host[1:-1].partition("%")
                return cls(ipaddress.IPv6Address(host).packed, int(port), _scope(zone))
            return cls(ipaddress.IPv4Address(host).packed, int(port))
        except InvalidValue:  # the scope's own error, which is a ValueError, too
            raise
        except ValueError:
            raise InvalidValue(
                f"endpoint {quoted(text)}: write 192.0.2.1:51820 or [2001:db8::1]:51820 with a port up to 65535"
            ) from None

    @property
    def host(self) -> str:
        """The address as text, without scope."""
        return socket.inet_ntop(self.family, self.address)

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET if len(self.address) == 4 else socket.AF_INET6

    @property
    def unmapped(self) -> Self:
        """The same endpoint as it is on the wire: an IPv4-mapped address (RFC 4291, 2.5.5.2) is an IPv4 address."""
        if len(self.address) == 4 or not self.address.startswith(V4_IN_V6):
            return self
        return self._replace(address=self.address[len(V4_IN_V6) :], scope=0)

    def __str__(self) -> str:
        if len(self.address) == 4:
            return f"{self.host}:{self.port}"
        return f"[{self.host}%{self.scope}]:{self.port}" if self.scope else f"[{self.host}]:{self.port}"


def _scope(zone: str) -> int:
    if not zone:
        return 0
    if zone.isdigit():
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        raise InvalidValue(f"endpoint: no interface {quoted(zone)} for the address scope") from None
