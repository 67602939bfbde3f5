"""Links, addresses and routes: the few requests that an interface needs.

There is no library for this, because the codec is needed for WireGuard anyway, and because requests come from inside a
running event loop, from any thread and any network namespace. Errors are OSErrors with the kernel's errno.

Source: include/uapi/linux/{rtnetlink,if_link,if_addr}.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from wgjit.drivers.netlink.codec import NLA_F_NESTED, RAW, TEXT, U32, Codec, Message, Table
from wgjit.drivers.netlink.socket import NetlinkSocket
from wgjit.errors import MalformedAnswer
from wgjit.model import AllowedIP

NETLINK_ROUTE = 0
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = (
    16,
    17,
    18,
    20,
    22,
    24,
    26,
)
IFF_UP = 1
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253

_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, flags to change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, lengths of destination and source, tos, table, protocol, scope, type, flags

LINK_INFO = Table("link info", {1: ("kind", TEXT)})
LINK = Table(
    "link",
    {3: ("name", TEXT), 4: ("mtu", U32), 18: ("info", Codec(LINK_INFO.encode, LINK_INFO.decode, NLA_F_NESTED))},
)
ADDRESS = Table("address", {1: ("address", RAW), 2: ("local", RAW)})
ROUTE = Table("route", {1: ("destination", RAW), 4: ("interface", U32)})

CHOICE = Table("chosen route", {1: ("destination", RAW), 7: ("source", RAW), 16: ("mark", U32)})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
InterfaceAddress = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    index: int
    kind: str
    """The kernel's name of its type, such as "wireguard" or "tun"; empty for a physical device."""


class Rtnetlink(NetlinkSocket):
    """Requests to the kernel's routing family, in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE)

    def link(self, name: str) -> Link | None:
        """The interface of this name, or None."""
        try:
            answers = self.request(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0) + LINK.encode({"name": name}))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        if len(answers) != 1:
            raise MalformedAnswer(f"netlink: {len(answers)} answers to a question for one link")
        head, content = _split(answers[0], _LINK)
        return Link(head[2], LINK.decode(content).get("info", {}).get("kind", ""))

    def add_link(self, name: str, kind: str) -> None:
        """Make an interface. Raises OSError: EOPNOTSUPP if the kernel has no such kind, EEXIST."""
        attributes = LINK.encode({"name": name, "info": {"kind": kind}})
        self.request(RTM_NEWLINK, _LINK.pack(0, 0, 0, 0, 0) + attributes, NLM_F_CREATE | NLM_F_EXCL)

    def bring_up(self, index: int, mtu: int) -> None:
        """Set an interface's MTU and switch it on."""
        self.request(RTM_NEWLINK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP) + LINK.encode({"mtu": mtu}))

    def delete_link(self, index: int) -> None:
        """Delete an interface."""
        self.request(RTM_DELLINK, _LINK.pack(0, 0, index, 0, 0))

    def add_address(self, index: int, address: InterfaceAddress) -> None:
        """Give an interface an address. Its prefix becomes a route when the interface is up."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        head = _ADDRESS.pack(family, address.network.prefixlen, 0, RT_SCOPE_UNIVERSE, index)
        attributes = ADDRESS.encode({"local": address.packed, "address": address.packed})
        self.request(RTM_NEWADDR, head + attributes, NLM_F_CREATE | NLM_F_EXCL)

    def add_route(self, index: int, prefix: AllowedIP) -> None:
        """Route a prefix into an interface, in the main table. Raises OSError: EEXIST if it has a route already."""
        family, scope = (socket.AF_INET, RT_SCOPE_LINK) if prefix.version == 4 else (socket.AF_INET6, RT_SCOPE_UNIVERSE)
        head = _ROUTE.pack(family, prefix.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0)
        attributes = ROUTE.encode({"destination": prefix.network_address.packed, "interface": index})
        self.request(RTM_NEWROUTE, head + attributes, NLM_F_CREATE | NLM_F_EXCL)

    def source_towards(self, host: Address, mark: int = 0) -> Address | None:
        """The source address that the kernel would choose for a packet with this mark to `host`; None if it names none.

        Raises OSError: ENETUNREACH, EHOSTUNREACH if no route leads there.
        """
        family = socket.AF_INET if host.version == 4 else socket.AF_INET6
        head = _ROUTE.pack(family, host.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        values = {"destination": host.packed} | ({"mark": mark} if mark else {})
        for answer in self.request(RTM_GETROUTE, head + CHOICE.encode(values)):
            source = CHOICE.decode(_split(answer, _ROUTE)[1]).get("source")
            if source is not None:
                return ipaddress.ip_address(bytes(source))
        return None

    def addresses(self) -> Iterator[bytes]:
        """The packed addresses of all interfaces: 4 bytes each for IPv4, 16 for IPv6."""
        for message in self.dump(RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, content = _split(message, _ADDRESS)
            fields = ADDRESS.decode(content)
            # On a point-to-point link `address` is the far end's address, and `local`, if present, is this end's.
            address = fields.get("local", fields.get("address"))
            if address is not None:
                yield address


def _split(message: Message, head: struct.Struct) -> tuple[tuple[int, ...], bytes]:
    if len(message.body) < head.size:
        raise MalformedAnswer("netlink: a message shorter than its own header")
    return head.unpack_from(message.body), message.body[head.size :]
