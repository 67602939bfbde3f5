"""The rtnetlink messages of our routes, and a filter that lets only news of them through to this process.

All our routes lead into one interface, have one protocol number and are in one table. So a message is one `pack`.

Source: include/uapi/linux/rtnetlink.h; net/ipv4/fib_frontend.c, net/ipv6/route.c.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wgjit.drivers.base import Route
from wgjit.drivers.netlink.codec import NLM_F_ACK, Message, split_attributes, split_messages
from wgjit.errors import MalformedAnswer

NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR = 16, 17, 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
GROUPS: Final = (1, 5, 7, 11)
"""RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_ROUTE. A link that goes down takes its routes along, and an interface
that loses its last IPv4 address does, too. Linux tells nobody of these routes of IPv4."""

IFF_UP: Final = 1
_NLM_F_REQUEST: Final = 1
_RT_TABLE_COMPAT: Final = 252
_RTN_UNICAST: Final = 1
_SCOPE_LINK, _SCOPE_UNIVERSE, _SCOPE_NOWHERE = 253, 0, 255
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_NH_ID = 1, 4, 6, 9, 15, 30

_ROUTE_HEAD = struct.Struct("=BBBBBBBBI")  # family, bits of destination and source, tos, table, protocol, scope, type
_LINK_HEAD = struct.Struct("=BxHiII")  # family, device type, index, flags, flags that changed
_INDEX = struct.Struct("=4xi")  # the interface, at one place in the heads of links and of addresses
_NUMBER = struct.Struct("=I")
# struct nlmsghdr, struct rtmsg, RTA_TABLE, RTA_OIF, RTA_PRIORITY, RTA_DST
_MESSAGE = {length: struct.Struct(f"=IHHII BBBBBBBBI HHI HHI HHI HH{length}s".replace(" ", "")) for length in (4, 16)}


@dataclass(frozen=True, slots=True)
class Kind:
    """What all our routes have in common."""

    ifindex: int
    table: int
    protocol: int

    def encode(self, route: Route, sequence: int, *, put: bool, last: bool) -> bytes:
        """The request that puts a route in or takes it away. Only the `last` of a batch is acknowledged.

        Errors are always told. To put a route in never takes another one's place (NLM_F_EXCL): with NLM_F_REPLACE the
        kernel would replace any route of this prefix and metric, whoever made it.
        """
        v4 = len(route.address) == 4
        shape = _MESSAGE[len(route.address)]
        flags = _NLM_F_REQUEST | (NLM_F_ACK if last else 0)
        scope = _SCOPE_LINK if v4 else _SCOPE_UNIVERSE
        if put:
            flags |= NLM_F_CREATE | NLM_F_EXCL
        elif v4:
            scope = _SCOPE_NOWHERE
        return shape.pack(
            shape.size, RTM_NEWROUTE if put else RTM_DELROUTE, flags, sequence, 0,
            socket.AF_INET if v4 else socket.AF_INET6, route.length, 0, 0, self._short_table, self.protocol, scope,
            _RTN_UNICAST, 0,
            8, _RTA_TABLE, self.table,
            8, _RTA_OIF, self.ifindex,
            8, _RTA_PRIORITY, route.metric,
            4 + len(route.address), _RTA_DST, route.address,
        )  # fmt: skip

    def dump_request(self, family: int) -> bytes:
        """The body of a request for all our routes of one family; the kernel filters if it can (Linux 4.20)."""
        head = _ROUTE_HEAD.pack(family, 0, 0, 0, self._short_table, self.protocol, 0, 0, 0)
        return head + struct.pack("=HHIHHI", 8, _RTA_TABLE, self.table, 8, _RTA_OIF, self.ifindex)

    @property
    def _short_table(self) -> int:
        return self.table if self.table < 256 else _RT_TABLE_COMPAT

    def decode(self, message: Message, *, of_others: bool = False) -> Route | None:
        """The route in a message, None if it is none of ours. Raises MalformedAnswer.

        `of_others`: any route in our table, whoever made it and wherever it leads.
        """
        body = message.body
        if len(body) < _ROUTE_HEAD.size:
            raise MalformedAnswer("netlink: a route shorter than its own header")
        family, length, _, _, table, protocol, _, kind, _ = _ROUTE_HEAD.unpack_from(body)
        if protocol != self.protocol and not of_others:
            return None
        if family not in (socket.AF_INET, socket.AF_INET6):
            return None
        ifindex, metric, shared = 0, 0, False
        address = bytes(4 if family == socket.AF_INET else 16)
        for attribute, content in split_attributes(body[_ROUTE_HEAD.size :]):
            if attribute == _RTA_DST:
                if len(content) != len(address):
                    raise MalformedAnswer("netlink: a route's destination has a wrong length")
                address = content
            elif attribute in (_RTA_TABLE, _RTA_OIF, _RTA_PRIORITY):
                if len(content) != _NUMBER.size:
                    raise MalformedAnswer("netlink: a route's number has a wrong length")
                (number,) = _NUMBER.unpack(content)
                if attribute == _RTA_TABLE:
                    table = number
                elif attribute == _RTA_OIF:
                    ifindex = number
                else:
                    metric = number
            elif attribute in (_RTA_MULTIPATH, _RTA_NH_ID):
                shared = True
        if table != self.table:
            return None
        if not of_others and (ifindex != self.ifindex or kind != _RTN_UNICAST or shared):
            return None
        return Route(address, length, metric)


def indexed(message: Message) -> int:
    """The interface of a message about a link or an address. Raises MalformedAnswer."""
    if len(message.body) < _INDEX.size:
        raise MalformedAnswer("netlink: a message shorter than its own header")
    index: int = _INDEX.unpack_from(message.body)[0]
    return index


def is_up(message: Message) -> bool:
    """Whether a link is up, by a message about it. Raises MalformedAnswer."""
    if len(message.body) < _LINK_HEAD.size:
        raise MalformedAnswer("netlink: a message shorter than its own header")
    return message.kind == RTM_NEWLINK and bool(_LINK_HEAD.unpack_from(message.body)[3] & IFF_UP)


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of a datagram of news. Raises MalformedAnswer."""
    return split_messages(datagram)


# --- the filter -----------------------------------------------------------------------------------------------
# linux/bpf_common.h, with the assembler's notation in the kernel's Documentation/networking/filter.rst

_LOAD_WORD_AT: Final = 0x20  # ld [k]
_LOAD_HALF_AT: Final = 0x28  # ldh [k]
_LOAD_BYTE_AT: Final = 0x30  # ldb [k]
_JUMP_EQUAL: Final = 0x15  # jeq #k
_JUMP_ANY_BIT: Final = 0x45  # jset #k
_RETURN: Final = 0x06  # ret #k
_STEP = struct.Struct("=HBBI")
_ALL: Final = 0xFFFF
_KIND_AT, _FLAGS_AT, _PORT_AT, _BODY_AT = 4, 6, 12, 16  # in struct nlmsghdr


def news_filter(kind: Kind, port: int) -> bytes:
    """The `struct sock_filter`s that pass news of our routes, of our interface, and of routes that replace others.

    A machine with a routing daemon may change a million routes, and none of these may wake this process. Changes by the
    socket with the netlink port `port`, our own, do not pass.
    """
    swapped16, swapped32 = struct.Struct(">H"), struct.Struct(">I")

    def half(value: int) -> int:  # the filter reads big-endian, netlink is in the machine's own order
        return int(swapped16.unpack(struct.pack("=H", value))[0])

    def word(value: int) -> int:
        return int(swapped32.unpack(struct.pack("=I", value))[0])

    # each line: code, then the number of the line to go to if true, and if false; None is the next one
    lines: list[tuple[int, int, int | None, int | None]] = [
        (_LOAD_HALF_AT, _KIND_AT, None, None),  # 0
        (_JUMP_EQUAL, half(RTM_NEWLINK), 11, None),
        (_JUMP_EQUAL, half(RTM_DELLINK), 11, None),
        (_JUMP_EQUAL, half(RTM_NEWADDR), 11, None),
        (_JUMP_EQUAL, half(RTM_DELADDR), 11, None),
        (_JUMP_EQUAL, half(RTM_DELROUTE), 9, None),  # 5
        (_JUMP_EQUAL, half(RTM_NEWROUTE), None, 16),
        (_LOAD_HALF_AT, _FLAGS_AT, None, None),
        (_JUMP_ANY_BIT, half(NLM_F_REPLACE), 13, 16),
        (_LOAD_BYTE_AT, _BODY_AT + 5, None, None),  # 9: the protocol in struct rtmsg
        (_JUMP_EQUAL, kind.protocol, 13, 16),
        (_LOAD_WORD_AT, _BODY_AT + 4, None, None),  # 11: the interface
        (_JUMP_EQUAL, word(kind.ifindex), 15, 16),
        (_LOAD_WORD_AT, _PORT_AT, None, None),  # 13
        (_JUMP_EQUAL, word(port), 16, 15),
        (_RETURN, _ALL, None, None),  # 15
        (_RETURN, 0, None, None),  # 16
    ]
    return b"".join(
        _STEP.pack(code, 0 if yes is None else yes - here - 1, 0 if no is None else no - here - 1, operand)
        for here, (code, operand, yes, no) in enumerate(lines)
    )
