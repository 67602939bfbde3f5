"""Messages of nftables: transactions, elements of sets, counters. The program `nft` makes the tables themselves.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink.codec import NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, RAW, TEXT, Codec, Table, encode_attribute
from wgjit.drivers.netlink.netfilter import BE32, BE64, NFPROTO_INET, NLM_F_CREATE, Request

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_DELTABLE, _GETRULE, _NEWSETELEM, _DELSETELEM, _GETOBJ = 2, 7, 12, 14, 19
_OBJECT_COUNTER = 1
_LIST_ELEMENT = 1


def _nest(table: Table) -> Codec:
    return Codec(table.encode, table.decode, NLA_F_NESTED)


_TABLE = Table("nft table", {1: ("name", TEXT)})
_RULE = Table("nft rule", {1: ("table", TEXT)})
_KEY = Table("nft data", {1: ("value", RAW)})
_ELEMENT = Table("nft set element", {1: ("key", _nest(_KEY)), 4: ("timeout", BE64)})
_ELEMENTS = Table(
    "nft elements of a set", {1: ("table", TEXT), 2: ("set", TEXT), 3: ("elements", Codec(bytes, bytes, NLA_F_NESTED))}
)
_COUNTER = Table("nft counter", {1: ("bytes", BE64), 2: ("packets", BE64)})
_OBJECT = Table("nft object", {1: ("table", TEXT), 2: ("name", TEXT), 3: ("type", BE32), 4: ("data", _nest(_COUNTER))})


def table_name(prefix: str, interface: str) -> str:
    """An interface's table. A byte that nft does not allow is written as /hex, as no interface name has a slash."""
    safe = (
        chr(b) if chr(b).isascii() and (chr(b).isalnum() or b in b"-_.") else f"/{b:02x}" for b in interface.encode()
    )
    return prefix + "".join(safe)


def transaction(*requests: Request) -> tuple[Request, ...]:
    """A transaction: the kernel carries out all of the requests or none."""
    begin, end = (nfnetlink.request(kind, resource=_SUBSYSTEM) for kind in (_BATCH_BEGIN, _BATCH_END))
    return begin, *requests, end


def delete_table(table: str) -> Request:
    """Delete a table with all that is in it. ENOENT if there is none."""
    return _message(_DELTABLE, _TABLE.encode({"name": table}), NLM_F_ACK)


def add_elements(table: str, name: str, elements: Mapping[bytes, float]) -> Request:
    """Put elements into a set: each key with its timeout, seconds. Elements that are there are no error.

    Before Linux 6.12 an element that is there keeps its old timeout.
    """
    encoded = _elements(
        _ELEMENT.encode({"key": {"value": key}, "timeout": round(timeout * 1000)}) for key, timeout in elements.items()
    )
    body = _ELEMENTS.encode({"table": table, "set": name, "elements": encoded})
    return _message(_NEWSETELEM, body, NLM_F_CREATE | NLM_F_ACK)


def add_keys(table: str, name: str, keys: Iterable[bytes]) -> Request:
    """Put keys into a set without timeouts, as `add_elements` does. The keys have one length, of whole words.

    This is for many keys: a message's list holds 64 KiB, so 3,000 keys of 8 bytes or 2,000 of 20.
    """
    return _message(_NEWSETELEM, _of_keys(table, name, keys), NLM_F_CREATE | NLM_F_ACK)


def delete_keys(table: str, name: str, keys: Iterable[bytes]) -> Request:
    """Take keys out of a set, as `delete_elements` does, with the limits of `add_keys`."""
    return _message(_DELSETELEM, _of_keys(table, name, keys), NLM_F_ACK)


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> Request:
    """Take elements out of a set. ENOENT if one is not there or has expired."""
    encoded = _elements(_ELEMENT.encode({"key": {"value": key}}) for key in keys)
    body = _ELEMENTS.encode({"table": table, "set": name, "elements": encoded})
    return _message(_DELSETELEM, body, NLM_F_ACK)


def drop_elements(table: str, names: Iterable[str], keys: Iterable[bytes]) -> list[Request]:
    """Take elements out of sets with timeouts, whether they are there or not.

    Deleting an element that is not there fails, so each is put in before.
    """
    found = dict.fromkeys(keys, 1.0)
    return [step(table, name, found) for name in names for step in (add_elements, delete_elements)]


def empty_set(table: str, name: str) -> Request:
    """Take all elements out of a set."""
    return _message(_DELSETELEM, _ELEMENTS.encode({"table": table, "set": name}), NLM_F_ACK)


def list_rules(table: str) -> Request:
    """Ask for all rules of a table, by `NetfilterSocket.dump`. There are none if there is no such table."""
    return _message(_GETRULE, _RULE.encode({"table": table}), NLM_F_DUMP)


def read_counter(table: str, name: str) -> Request:
    """Ask for a named counter; `counted` reads the answer."""
    return _message(_GETOBJ, _OBJECT.encode({"table": table, "name": name, "type": _OBJECT_COUNTER}), NLM_F_ACK)


def counted(attributes: bytes) -> int:
    """The packets that a counter has counted. Raises MalformedAnswer."""
    return int(_OBJECT.decode(attributes)["data"]["packets"])


def _of_keys(table: str, name: str, keys: Iterable[bytes]) -> bytes:
    found = list(keys)
    length = len(found[0]) if found else 0
    headers = [(length + 12, NLA_F_NESTED | _LIST_ELEMENT), (length + 8, NLA_F_NESTED | 1), (length + 4, 1)]
    before = b"".join(struct.pack("=HH", *header) for header in headers)  # element { key { value } }
    encoded = b"".join([before + key for key in found])
    return _ELEMENTS.encode({"table": table, "set": name, "elements": encoded})


def _elements(encoded: Iterable[bytes]) -> bytes:
    return b"".join(encode_attribute(NLA_F_NESTED | _LIST_ELEMENT, element) for element in encoded)


def _message(kind: int, attributes: bytes, flags: int = 0) -> Request:
    return nfnetlink.request(_SUBSYSTEM << 8 | kind, attributes, family=NFPROTO_INET, flags=flags)
