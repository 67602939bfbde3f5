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
)
from typing import Annotated, Any, NamedTuple, TypeVar, cast

from pydantic import PlainSerializer, PlainValidator

from wgjit.wire.addresses import parse_address, parse_interface, parse_prefix

T = TypeVar("T")


def _validator(parse: Callable[[str], T], kinds: tuple[type, ...], what: str) -> PlainValidator:
    def validate(value: Any) -> T:
        if isinstance(value, kinds):
            return cast(T, value)
        try:
            return parse(value if isinstance(value, str) else "")
        except ValueError:  # ipaddress's own text repeats the value, which may be a secret in the wrong place
            raise ValueError(f"value is not a valid IPv4 or IPv6 {what}") from None

    return PlainValidator(validate)


AnyAddress = Annotated[
    IPv4Address | IPv6Address, _validator(parse_address, (IPv4Address, IPv6Address), "address"), PlainSerializer(str)
]
"""An address without a prefix length, such as 192.0.2.1."""
AnyInterface = Annotated[
    IPv4Interface | IPv6Interface,
    _validator(parse_interface, (IPv4Interface, IPv6Interface), "interface"),
    PlainSerializer(str),
]
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
        target = Target(parse_address(host), port)
    except ValueError:
        target = None
    if target is None or (port is not None and not 1 <= port <= 65535):
        raise ValueError("write an address, or an address and a TCP port, such as 10.0.0.1 or [2001:db8::1]:443")
    return target


AnyTarget = Annotated[Target, PlainValidator(_target), PlainSerializer(str)]
"""An address, such as 10.0.0.1, or an address with a TCP port, such as [2001:db8::1]:443."""
AnyNetwork = Annotated[
    IPv4Network | IPv6Network, _validator(parse_prefix, (IPv4Network, IPv6Network), "network"), PlainSerializer(str)
]
"""A prefix without host bits, such as 10.8.0.0/16."""
