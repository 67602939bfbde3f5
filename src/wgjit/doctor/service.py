"""From which address WireGuard would begin a handshake, where several gateways share a service address.

WireGuard answers from the address to which a client has sent. But what a gateway begins by itself goes by the routing
table, which chooses the source: the machine's own address, if nobody tells it otherwise. A client behind a NAT or a
firewall never sees such a packet. docs/LEAVING.md has the rule that chooses the service address.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address, ip_address

from wgjit.doctor.probe import Fact, Finding
from wgjit.drivers.netlink.route import Rtnetlink

Address = IPv4Address | IPv6Address

_FAR = {4: ip_address("1.0.0.1"), 6: ip_address("2606:4700:4700::1001")}
"""Addresses to which the route of most clients leads. Nothing is sent there."""


def look_at_service(addresses: Iterable[Address], mark: int) -> Finding:
    """Whether WireGuard begins handshakes from these service addresses. `mark`: the interface's fwmark, 0 if none."""
    told: list[str] = []
    results: list[bool | None] = []
    with closing(Rtnetlink()) as kernel:
        here = set(map(ip_address, kernel.addresses()))
        for version in (4, 6):
            shared = [address for address in addresses if address.version == version]
            if shared:
                ok, detail = _look(kernel, shared, shared[0] if len(shared) == 1 else None, here, mark)
                results.append(ok)
                told.append(detail)
    ok = False if False in results else None if None in results else True
    return Finding(Fact.SERVICE_ADDRESS, ok, "; ".join(told))


def _look(
    kernel: Rtnetlink, shared: list[Address], only: Address | None, here: set[Address], mark: int
) -> tuple[bool | None, str]:
    names = " and ".join(map(str, shared))
    if only is None:
        return False, f"{names}: WireGuard can begin handshakes from one of them only; share one address of each family"
    if only not in here:
        return None, f"{only} is not on this machine now, as on a VRRP backup; look again where it is"
    try:
        source = kernel.source_towards(_FAR[only.version], mark)
    except OSError as error:
        return False, f"{only}: no route to clients: {os.strerror(error.errno or 0)}"
    if source == only:
        return True, f"WireGuard begins handshakes from {only}"
    wrong = "no address that the kernel names" if source is None else str(source)
    family = "" if only.version == 4 else " -6"
    table = (
        f"ip{family} route add default via ROUTER src {only} table 51820; "
        f"ip{family} rule add fwmark 51820 table 51820; wg set INTERFACE fwmark 51820"
    )
    return (
        False,
        f"WireGuard would begin handshakes from {wrong}, not {only}, and clients would not see them: {table}",
    )
