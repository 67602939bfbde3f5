"""A network that all gateways of a fleet share, with the internet behind its router: what VRRP needs.

clients ── internet 198.51.100.1 ── lan ──┬── gateway a 198.51.100.11
                                          └── gateway b 198.51.100.12
"""

from __future__ import annotations

from lab.fleet.member import Member
from lab.fleet.site import Fleet

VIRTUAL = "198.51.100.10"
"""The address that moves, as docs/LEAVING.md has it."""
DEVICE = "eth0"


class Lan:
    """The network above. Each gateway's end of it is called eth0."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        fleet.internet.ip("link add lan type bridge", "link set lan up", "address add 198.51.100.1/24 dev lan")
        self._ports: dict[Member, str] = {}
        for number, member in enumerate(fleet.members, start=11):
            link = fleet.lab.link(fleet.internet, member.namespace)
            fleet.internet.ip(f"link set {link.a} master lan")
            member.namespace.ip(
                f"link set {link.b} down", f"link set {link.b} name {DEVICE}", f"link set {DEVICE} up",
                f"address add 198.51.100.{number}/24 dev {DEVICE}",
                f"route replace default via 198.51.100.1 dev {DEVICE}",  # WireGuard answers where it was asked
            )  # fmt: skip
            self._ports[member] = link.a

    def has_it(self, member: Member) -> bool:
        """Whether the gateway has the address that moves."""
        return f" {VIRTUAL}/" in member.namespace.run("ip", "-o", "address", "show", "dev", DEVICE)

    def owners(self) -> list[str]:
        """The names of the gateways that have it."""
        return [member.name for member in self.fleet.members if self.has_it(member)]
