"""IPv4 and IPv6 with UDP inside: peel a packet, build one, finish a checksum (RFC 791, 768, 8200, 1071).

A packet begins at its IP header, as AF_PACKET SOCK_DGRAM and the netfilter queue give it. Rules:

- Lengths come from the headers, never from the buffer: padding that the link added after the packet is cut.
- A fragment is refused, also the first one: a handshake message never needs one.
- IPv4 options are skipped, as are IPv6 hop-by-hop, destination and (used up) routing headers.
- Checksums are not verified: the kernel does that, and a captured one may be unfinished (see `finish_checksum`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.endpoint import Endpoint

_UDP: Final = 17
_HOP_BY_HOP: Final = 0
_ROUTING: Final = 43
_DESTINATION_OPTIONS: Final = 60

_IPV4_HEADER: Final = 20
_IPV6_HEADER: Final = 40
_UDP_HEADER: Final = 8
_PLAIN: Final = _IPV4_HEADER + _UDP_HEADER
_FRAGMENT: Final = 0x3FFF
"""More-fragments flag and offset: a packet with either is a fragment. The don't-fragment flag is above them."""
_DONT_FRAGMENT: Final = 0x4000

_ipv4: Final = Struct("!BBHHHBBH4s4s")
_ipv6: Final = Struct("!IHBB16s16s")
_udp: Final = Struct("!HHHH")
# All fields that `peel` needs of a header, read in one call, since `peel` runs for every captured packet.
_ipv4_seen: Final = Struct("!2xH2xHxB2x4s4s").unpack_from
_ipv6_seen: Final = Struct("!4xH2x16s16s").unpack_from
_ports: Final = Struct("!HH").unpack_from
_ipv4_plain: Final = Struct("!2xH2xHxB2x4s4sHHH").unpack_from
"""An IPv4 header without options and the UDP header after it. Nearly every knock has this form."""
_new: Final = tuple.__new__


class Datagram(NamedTuple):
    """A UDP datagram taken out of its packet. Endpoints have no scope, since a packet does not tell its interface."""

    source: Endpoint
    destination: Endpoint
    payload: bytes


_Located = tuple[bytes, bytes, int, int, int]
"""Source and destination address; offsets of the UDP header, of its payload's end, and of the packet's end."""


def peel(packet: bytes) -> Datagram | Refusal:
    """Take the datagram out of an IP packet, or return NOT_UDP. Any bytes of any length give one of the two."""
    if len(packet) >= _PLAIN and packet[0] == 0x45:
        end, fragment, protocol, source, destination, source_port, destination_port, length = _ipv4_plain(packet)
        udp_end = _IPV4_HEADER + length
        if protocol != _UDP or fragment & _FRAGMENT or length < _UDP_HEADER or not udp_end <= end <= len(packet):
            return Refusal.NOT_UDP
        payload = packet[_PLAIN:udp_end]
    else:
        located = _locate(packet)
        if located is None:
            return Refusal.NOT_UDP
        source, destination, udp, udp_end, _ = located
        source_port, destination_port = _ports(packet, udp)
        payload = packet[udp + _UDP_HEADER : udp_end]
    # This avoids NamedTuple's constructor, a Python function, which would take a third of the time of `peel`.
    ends = _new(Endpoint, (source, source_port, 0)), _new(Endpoint, (destination, destination_port, 0))
    return _new(Datagram, (*ends, payload))


def build(
    source: Endpoint,
    destination: Endpoint,
    payload: bytes,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    identification: int = 0,
) -> bytes:
    """A whole packet with correct checksums. IPv4 has no options and has don't-fragment set, IPv6 has no extensions.

    `hop_limit` is IPv4's time to live, `traffic_class` its type of service, and only IPv4 uses `identification`. Raises
    InvalidValue for endpoints of two families or a payload that no packet can hold.
    """
    if source.family != destination.family:
        raise InvalidValue(f"packet from {source} to {destination}: both must be IPv4 or both IPv6")
    is_ipv4 = len(source.address) == 4
    udp_length = _UDP_HEADER + len(payload)
    if udp_length + (_IPV4_HEADER if is_ipv4 else 0) > 0xFFFF:
        raise InvalidValue(f"payload of {len(payload)} bytes: more than a UDP datagram holds")
    if is_ipv4:
        total = _IPV4_HEADER + udp_length
        ends = source.address, destination.address
        header = _ipv4.pack(0x45, traffic_class, total, identification, _DONT_FRAGMENT, hop_limit, _UDP, 0, *ends)
    else:
        first_word = 6 << 28 | traffic_class << 20
        header = _ipv6.pack(first_word, udp_length, _UDP, hop_limit, source.address, destination.address)
    udp = _udp.pack(source.port, destination.port, udp_length, 0)
    end = len(header) + udp_length
    return _with_checksums(header + udp + payload, (source.address, destination.address, len(header), end, end))


def finish_checksum(packet: bytes) -> bytes:
    """The same packet with new UDP and IPv4 header checksums, and without link padding.

    A packet captured on a veth, or on its way out of an offloading NIC, has only the sum over its pseudo-header as UDP
    checksum. If such a packet is put back as it is, the kernel drops it silently (UdpInCsumErrors). Zero, "no
    checksum", is valid in IPv4 only. Raises InvalidValue for a packet that does not `peel`.
    """
    located = _locate(packet)
    if located is None:
        raise InvalidValue("packet: no whole UDP packet, there is no checksum to finish")
    return _with_checksums(packet[: located[-1]], located)


def _locate(packet: bytes) -> _Located | None:
    """Find the UDP header and the ends; None if there is no UDP, or the packet is not whole."""
    size = len(packet)
    version = packet[0] >> 4 if size else 0
    if version == 4 and size >= _IPV4_HEADER:
        udp = (packet[0] & 15) * 4
        end, fragment, protocol, source, destination = _ipv4_seen(packet)
        if udp < _IPV4_HEADER or fragment & _FRAGMENT or protocol != _UDP:
            return None
    elif version == 6 and size >= _IPV6_HEADER:
        length, source, destination = _ipv6_seen(packet)
        end = _IPV6_HEADER + length
        udp = _skip_extensions(packet, min(end, size))
    else:
        return None
    if end > size or udp < 0 or udp + _UDP_HEADER > end:
        return None
    udp_length = packet[udp + 4] << 8 | packet[udp + 5]
    if not _UDP_HEADER <= udp_length <= end - udp:
        return None
    return source, destination, udp, udp + udp_length, end


def _skip_extensions(packet: bytes, end: int) -> int:
    """Offset of the UDP header in an IPv6 packet, or -1."""
    kind = packet[6]
    offset = _IPV6_HEADER
    while kind != _UDP:
        if kind not in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS) or offset + 8 > end:
            return -1
        if kind == _ROUTING and packet[offset + 3]:  # segments left: the packet is not at its destination yet
            return -1
        kind = packet[offset]
        offset += 8 + packet[offset + 1] * 8
    return offset


def _with_checksums(packet: bytes, located: _Located) -> bytes:
    source, destination, udp, udp_end, _ = located
    header = bytearray(packet[: udp + _UDP_HEADER])
    if packet[0] >> 4 == 4:
        header[10:12] = b"\0\0"
        header[10:12] = (-_sum(header[:udp]) % 0xFFFF).to_bytes(2, "big")
    header[-2:] = b"\0\0"
    pseudo_header = source + destination + (udp_end - udp).to_bytes(4, "big") + _UDP.to_bytes(4, "big")
    payload = packet[udp + _UDP_HEADER : udp_end]
    # A checksum of zero is sent as all ones, because zero means "no checksum" (RFC 768), which IPv6 forbids.
    checksum = 0xFFFF - _sum(pseudo_header + header[-_UDP_HEADER:] + payload) % 0xFFFF
    header[-2:] = checksum.to_bytes(2, "big")
    return bytes(header) + packet[udp + _UDP_HEADER :]


def _sum(data: bytes | bytearray) -> int:
    """A number that is congruent, modulo 65535, to the 16-bit ones' complement sum of the zero-padded data."""
    # 2^16 is 1 modulo 65535, so a big-endian number is congruent to the sum of its 16-bit digits.
    return int.from_bytes(data, "big") << 8 * (len(data) & 1)
