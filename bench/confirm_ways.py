"""The ways to notice a packet from an awaited inner address, for `./dev bench confirm`: the product's, and its rivals.

| way         | how                                                                                                |
| ----------- | -------------------------------------------------------------------------------------------------- |
| `Socket`    | the product's: AF_PACKET with a classic BPF filter                                                 |
| `Nft`       | an nft set in a chain on the prerouting hook or on the interface's ingress. A packet of an element |
|             | is logged to a netlink group, and takes the element out                                            |
| `MapSocket` | AF_PACKET with an eBPF filter that looks the source up in a hash map and takes it out. It needs    |
|             | CAP_BPF                                                                                            |

The rivals know IPv4 addresses only, which is enough to measure them. Each belongs to the network namespace of the
thread that makes it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import platform
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from lab.netns import run
from wgjit.drivers.confirm.packets import PacketConfirmations
from wgjit.drivers.netlink import netfilter
from wgjit.drivers.netlink.codec import NLA_F_NESTED, NLM_F_ACK, encode_attribute, split_attributes, split_messages
from wgjit.drivers.netlink.netfilter import NLM_F_CREATE
from wgjit.drivers.packet_socket import IPV4
from wgjit.model import AllowedIP, PublicKey


class Way(Protocol):
    """Watches addresses, which are integers."""

    def prepared(self, addresses: Sequence[int]) -> Callable[[], None]:
        """What a gateway does to await a packet from each, after it has installed these peers together."""

    def fileno(self) -> int: ...

    def read(self) -> list[int]:
        """The addresses from which packets have come."""

    def close(self) -> None: ...


class Socket:
    """The product. With `both`, each peer has an IPv6 address, too."""

    def __init__(self, interface: str, both: bool = False) -> None:
        self.confirmations = PacketConfirmations(interface)
        self._both = both

    def prepared(self, addresses: Sequence[int]) -> Callable[[], None]:
        peers = []
        for address in addresses:
            prefixes: list[AllowedIP] = [ipaddress.IPv4Network(address)]
            if self._both:
                prefixes.append(ipaddress.IPv6Network((0xFD << 120) + address))
            peers.append((PublicKey(address.to_bytes(32, "big")), prefixes))

        def watch() -> None:
            for key, prefixes in peers:
                self.confirmations.watch(key, prefixes)
            self.confirmations.flush()

        return watch

    def fileno(self) -> int:
        return self.confirmations.fileno()

    def read(self) -> list[int]:
        return [int.from_bytes(key, "big") for key in self.confirmations.read()]

    def close(self) -> None:
        self.confirmations.close()


# --- nft ------------------------------------------------------------------------------------------------------

_TABLES = 10 << 8  # linux/netfilter/nfnetlink.h: NFNL_SUBSYS_NFTABLES
_LOG = 4 << 8  # NFNL_SUBSYS_ULOG
_FAMILY = {"inet": 1, "netdev": 5}
_GROUP = 77
_CHAIN = {
    "inet": 'type filter hook prerouting priority raw; iifname "{interface}"',
    "netdev": 'type filter hook ingress device "{interface}" priority 0;',
}


class Nft:
    """One set, one rule. The elements that no packet has taken out leave after 15 s."""

    def __init__(self, interface: str, kind: Literal["inet", "netdev"]) -> None:
        self._kind = kind
        chain = _CHAIN[kind].format(interface=interface)
        script = f"""table {kind} confirm {{
            set awaited {{ type ipv4_addr; size 1000000; flags dynamic,timeout; timeout 15s; }};
            chain c {{ {chain} ip saddr @awaited log group {_GROUP} delete @awaited {{ ip saddr }}; }};
        }}"""
        run("nft", "-f", "-", input=script)
        self._tables = netfilter.NetfilterSocket()
        self._log = netfilter.NetfilterSocket()
        bind = encode_attribute(1, b"\1")  # NFULA_CFG_CMD, NFULNL_CFG_CMD_BIND
        copy = encode_attribute(2, struct.pack(">IBx", 40, 2))  # NFULA_CFG_MODE: 40 bytes, NFULNL_COPY_PACKET
        at_once = encode_attribute(5, struct.pack(">I", 1))  # NFULA_CFG_QTHRESH
        for attributes in (bind, copy + at_once):
            self._log.request(netfilter.request(_LOG | 1, attributes, resource=_GROUP, flags=NLM_F_ACK))

    def prepared(self, addresses: Sequence[int]) -> Callable[[], None]:
        def watch() -> None:
            for start in range(0, len(addresses), 1000):  # of a transaction's list, whose length is 16 bits
                self._add(addresses[start : start + 1000])

        return watch

    def _add(self, addresses: Sequence[int]) -> None:
        # element { key { value } }, all nested
        elements = b"".join([_ELEMENT + address.to_bytes(4, "big") for address in addresses])
        attributes = encode_attribute(1, b"confirm\0") + encode_attribute(2, b"awaited\0")
        attributes += encode_attribute(3 | NLA_F_NESTED, elements)
        begin, end = (netfilter.request(kind, resource=_TABLES >> 8) for kind in (0x10, 0x11))
        add = netfilter.request(_TABLES | 12, attributes, family=_FAMILY[self._kind], flags=NLM_F_CREATE | NLM_F_ACK)
        self._tables.request(begin, add, end)

    def fileno(self) -> int:
        return self._log.socket.fileno()

    def read(self) -> list[int]:
        found = []
        try:
            for message in split_messages(self._log.socket.recv(1 << 16, socket.MSG_DONTWAIT)):
                fields = dict(split_attributes(netfilter.content(message)))
                if 9 in fields:  # NFULA_PAYLOAD
                    found.append(int.from_bytes(fields[9][12:16], "big"))
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        self._tables.close()
        self._log.close()
        run("nft", "delete", "table", self._kind, "confirm")


_ELEMENT = struct.pack("=HHHHHH", 16, 1 | NLA_F_NESTED, 12, 1 | NLA_F_NESTED, 8, 1)


# --- eBPF -----------------------------------------------------------------------------------------------------

_SYSCALL = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), -1)  # bpf(2)
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD = 0, 2, 5
_SO_ATTACH_BPF = 50
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    result: int = _libc.syscall(_SYSCALL, command, attributes, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return result


def _step(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | target, offset, value)


def _filter_over(map_: int) -> bytes:
    """Pass 40 bytes of a packet whose source is in the map, and take the source out."""
    first = [
        _step(0xBF, 6, 1),  # r6 = the packet
        _step(0x20, value=12),  # r0 = its word at 12, the source
        _step(0x63, 10, 0, -4),  # *(u32 *)(r10 - 4) = r0
    ]
    address = [
        _step(0x18, 1, 1, 0, map_), _step(0),  # r1 = the map
        _step(0xBF, 2, 10), _step(0x07, 2, value=-4),  # r2 = r10 - 4
    ]  # fmt: skip
    return b"".join(
        [
            *first,
            *address,
            _step(0x85, value=1),  # bpf_map_lookup_elem
            _step(0x55, 0, 0, 1, 0),  # if r0 != 0: pass over the next
            _step(0x95),  # return 0
            *address,
            _step(0x85, value=3),  # bpf_map_delete_elem
            _step(0xB7, 0, value=40),
            _step(0x95),
        ]
    )


class MapSocket:
    """Raises OSError (EPERM without CAP_BPF)."""

    def __init__(self, interface: str, most: int = 1 << 17) -> None:
        self._map = _bpf(_MAP_CREATE, ctypes.create_string_buffer(struct.pack("=IIII", 1, 4, 4, most), 64))
        code = _filter_over(self._map)
        steps, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
        log = ctypes.create_string_buffer(1 << 16)
        load = struct.pack(
            "=IIQQIIQII", 1, len(code) // 8, ctypes.addressof(steps), ctypes.addressof(licence),
            1, len(log), ctypes.addressof(log), 0, 0,
        )  # fmt: skip
        self._program = _bpf(_PROG_LOAD, ctypes.create_string_buffer(load, len(load)))
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, self._program)
        self._socket.bind((interface, IPV4))
        self._key, self._value = ctypes.c_uint32(), ctypes.c_uint32(1)
        self._update = ctypes.create_string_buffer(
            struct.pack("=IIQQQ", self._map, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), 0), 32
        )

    def prepared(self, addresses: Sequence[int]) -> Callable[[], None]:
        def watch() -> None:
            for address in addresses:
                self._key.value = address
                _bpf(_MAP_UPDATE, self._update)

        return watch

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[int]:
        found = []
        try:
            while True:
                found.append(int.from_bytes(self._socket.recv(40)[12:16], "big"))
        except BlockingIOError:
            return found

    def close(self) -> None:
        self._socket.close()
        os.close(self._program)
        os.close(self._map)
