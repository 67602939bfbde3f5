"""Plain peers as bytes: imports bring them from a file's text into a registry without making objects, which is fast.

A plain peer has one IPv4 address, and nothing else is set. Its record is its key (32 bytes), 4, the address (4 bytes),
and 32, the length of the prefix.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterable
from socket import AF_INET, inet_pton

PLAIN_SIZE = 38
"""Bytes of a plain peer's record: its key, and one IPv4 address as `allowed_ips`."""


def pack_plain(keys: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Records of plain peers, from pairs of a base64 key and a dotted IPv4 address.

    Raises ValueError or OSError if a key or an address is malformed.
    """
    records = [
        a2b_base64(key) + b"\x04" + inet_pton(AF_INET, address.decode("ascii")) + b"\x20" for key, address in keys
    ]
    if any(len(record) != PLAIN_SIZE for record in records):
        raise ValueError("a public key is not 32 bytes long")
    return records
