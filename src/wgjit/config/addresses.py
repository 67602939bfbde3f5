"""Addresses and networks of either family, as settings.

pydantic has types for these, but in a module that also handles URLs and e-mail addresses and therefore loads the
packages' metadata. That would take a twentieth of a gateway's start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import PlainSerializer, PlainValidator

T = TypeVar("T")


def _validator(parse: Callable[[Any], T], what: str) -> PlainValidator:
    def validate(value: Any) -> T:
        try:
            return parse(value)
        except ValueError:  # ipaddress's own text repeats the value, which may be a secret in the wrong place
            raise ValueError(f"value is not a valid IPv4 or IPv6 {what}") from None

    return PlainValidator(validate)


AnyAddress = Annotated[IPv4Address | IPv6Address, _validator(ip_address, "address"), PlainSerializer(str)]
"""An address without a prefix length, such as 192.0.2.1."""
AnyInterface = Annotated[IPv4Interface | IPv6Interface, _validator(ip_interface, "interface"), PlainSerializer(str)]
"""An address with its prefix length, such as 10.8.0.1/16."""


class Target(NamedTuple):
    """An address that answers ICMP echo requests or, with a port, TCP connections."""

    address: IPv4Address | IPv6Address
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return str(self.address)
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"


def _target(value: Any) -> Target:
    if isinstance(value, Target):
        return value
    text = str(value)
    host, port = text, None
    if found := re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", text):
        host, port = found[1] or found[2], int(found[3])
    try:
        target = Target(ip_address(host), port)
    except ValueError:
        target = None
    if target is None or (port is not None and not 1 <= port <= 65535):
        raise ValueError("write an address, or an address and a TCP port, such as 10.0.0.1 or [2001:db8::1]:443")
    return target


AnyTarget = Annotated[Target, PlainValidator(_target), PlainSerializer(str)]
"""An address, such as 10.0.0.1, or an address with a TCP port, such as [2001:db8::1]:443."""
AnyNetwork = Annotated[IPv4Network | IPv6Network, _validator(ip_network, "network"), PlainSerializer(str)]
"""A prefix without host bits, such as 10.8.0.0/16."""
