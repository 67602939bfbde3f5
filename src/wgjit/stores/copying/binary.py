"""Prefixes and addresses in the binary forms of PostgreSQL's protocol, read and written as the packed forms of a file.

`packing` has the packed forms. Source: network_send and array_send in PostgreSQL's utils/adt.
"""

from __future__ import annotations

from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format

from wgjit.stores import packing
from wgjit.stores.postgresql.database.schema import Db

_CIDR, _INET, _CIDRS = 650, 869, 651
"""The numbers of the types for a prefix, an address, and a list of prefixes."""

_ONE_IPV4 = bytes.fromhex("00000001 00000000 0000028a 00000001 00000001 00000008 02 20 01 04")
"""A list with one IPv4 address in it, up to the address: dimensions, NULLs, type, size, from; length; family, bits."""


def register(db: Db) -> None:
    """From now on this connection reads prefixes and addresses as packed, and writes packed ones, in binary forms."""
    db.adapters.register_loader(_CIDRS, _PrefixesLoader)
    db.adapters.register_loader(_CIDR, _PrefixLoader)
    db.adapters.register_loader(_INET, _AddressLoader)
    db.adapters.register_dumper(_Packed, _PrefixesDumper)
    db.adapters.register_dumper(_Packed, _AddressDumper)


class _Packed(bytes):
    """Stands for packed prefixes and addresses where psycopg wants a class."""


class _PrefixesLoader(Loader):
    """Reads a list of prefixes as the packed form."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        data = bytes(data)
        if len(data) == 32 and data.startswith(_ONE_IPV4):
            return b"\x04" + data[28:] + b"\x20"
        found, place = [], 20
        while place < len(data):
            end = place + 4 + int.from_bytes(data[place : place + 4], "big")
            found.append(_packed(data[place + 4 : end]))
            place = end
        return b"".join(found)


class _PrefixLoader(Loader):
    """Reads a prefix as the packed form."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return _packed(bytes(data))


class _AddressLoader(Loader):
    """Reads an address as the packed form."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return _packed(bytes(data))[:-1]


class _PrefixesDumper(Dumper):
    """Writes packed prefixes as a list of them. A damaged form is a StoreError."""

    format = Format.BINARY
    oid = _CIDRS

    def dump(self, obj: bytes) -> bytes:
        if len(obj) == 6 and obj[0] == 4 and obj[5] == 32:
            return _ONE_IPV4 + obj[1:5]
        if not obj:
            return bytes.fromhex("00000000 00000000 0000028a")
        entries = []
        for prefix in packing.unpack_allowed_ips(obj):
            address = prefix.network_address.packed
            family = 2 if prefix.version == 4 else 3
            entries.append(bytes((0, 0, 0, 4 + len(address), family, prefix.prefixlen, 1, len(address))) + address)
        head = bytes.fromhex("00000001 00000000 0000028a") + len(entries).to_bytes(4, "big") + b"\0\0\0\1"
        return head + b"".join(entries)


class _AddressDumper(Dumper):
    """Writes a packed address."""

    format = Format.BINARY
    oid = _INET

    def dump(self, obj: bytes) -> bytes:
        address = obj[1:]
        return bytes((2 if len(address) == 4 else 3, 8 * len(address), 0, len(address))) + address


def _packed(data: bytes) -> bytes:
    """The packed form of a prefix: family, address, length."""
    return (b"\x04" if data[0] == 2 else b"\x06") + data[4:] + data[1:2]
