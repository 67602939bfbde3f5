"""The network that loads are run in: one machine that has all clients' addresses, one gateway, a veth between them.

    198.18.0.0/15, 2001:db8:5000::/36 ── clients ──── 192.0.2.2, fd02::2 │ 192.0.2.1, fd02::1 ── gateway
    inside the tunnel: 10.0.0.0/8, fd10::/64, of which the gateway has 10.0.0.1, fd10::1

The outer prefixes are those for benchmarks and documents (RFC 2544, RFC 3849): nobody is hit by what leaks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from bench.load.client import Client, Identity
from bench.load.engine import Load
from bench.load.identities import fresh, registration
from bench.load.sockets import Prefix, close, open_sockets
from lab.netns import Lab
from lab.wireguard import Backend, WireGuard, peer_section
from wgjit.model import Endpoint

PORT = 51820
OUTSIDE: dict[int, Prefix] = {
    4: ipaddress.IPv4Network("198.18.0.0/15"),
    6: ipaddress.IPv6Network("2001:db8:5000::/36"),
}
INSIDE: dict[int, Prefix] = {4: ipaddress.IPv4Network("10.0.0.0/8"), 6: ipaddress.IPv6Network("fd10::/64")}
GATEWAY = {4: "192.0.2.1", 6: "fd02::1"}
MACHINE = {4: "192.0.2.2", 6: "fd02::2"}


class Site:
    """The network of this module's head, with a WireGuard interface that has no peers yet."""

    def __init__(self, lab: Lab, backend: Backend = "auto") -> None:
        self.lab = lab
        self.gateway, self.machine = lab.namespace("gw"), lab.namespace("m")
        ends = [[f"{where[4]}/24", f"{where[6]}/64"] for where in (GATEWAY, MACHINE)]
        self.link = lab.link(self.gateway, self.machine, *ends)
        self.machine.ip(*(f"route add local {prefix} dev lo" for prefix in OUTSIDE.values()))
        self.gateway.ip(*(f"route add {prefix} via {MACHINE[version]}" for version, prefix in OUTSIDE.items()))
        addresses = [f"{prefix[1]}/{prefix.prefixlen}" for prefix in INSIDE.values()]
        self.server = WireGuard(self.gateway, addresses, listen_port=PORT, backend=backend)

    def identities(self, count: int, version: int = 4, *, preshared: bool = False) -> list[Identity]:
        """New clients with inner addresses of this IP version: the same addresses at each call."""
        return fresh(count, INSIDE[version], preshared=preshared)

    def install(self, identities: Sequence[Identity]) -> None:
        """Make these all peers that the interface has."""
        sections = (
            peer_section(peer.public_key, map(str, peer.allowed_ips), preshared_key=peer.preshared_key)
            for peer in map(registration, identities)
        )
        self.server.configure("\n".join(sections))

    def load(
        self,
        identities: Sequence[Identity],
        version: int = 4,
        *,
        verify: bool = True,
        places: Sequence[int] | None = None,
    ) -> Loaded:
        """These clients, over this outer IP version; a context manager that closes their sockets.

        `places`: from which address and port each sends, by a number from 0; by default each has its own.
        """
        return Loaded(self, identities, version, verify, places or range(len(identities)))


class Loaded(Load):
    """A load whose sockets are its own."""

    def __init__(
        self, site: Site, identities: Sequence[Identity], version: int, verify: bool, places: Sequence[int]
    ) -> None:
        server = Endpoint(ipaddress.ip_address(GATEWAY[version]).packed, PORT)
        clients = [
            Client(number, each, site.server.public_key, INSIDE[each.address.version][1], verify=verify)
            for number, each in enumerate(identities)
        ]
        self._own = site.machine.call(open_sockets, max(places) + 1, server, OUTSIDE[version])
        super().__init__(clients, [self._own[place] for place in places], server, verify=verify)

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        close(self._own)
