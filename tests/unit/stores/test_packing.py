"""Values <-> columns: one table, both directions, and every truncation."""

import pytest

from wgjit.errors import StoreError
from wgjit.model import Endpoint, PublicKey, parse_allowed_ip
from wgjit.stores import packing

ALLOWED_IPS = [
    ((), ""),
    (("10.8.0.2/32",), "040a08000220"),
    (("0.0.0.0/0",), "040000000000"),
    (("fd00::2/128",), "06fd000000000000000000000000000002" + "80"),
    (("::/0",), "06" + "00" * 16 + "00"),
    (("10.9.0.0/16", "fd00::/8", "10.8.0.2/32"), "040a09000010" + "06fd" + "00" * 15 + "08" + "040a08000220"),
]

RANGES = [
    ("10.8.0.2/32", "040a080002", None),
    ("10.8.0.0/23", "040a080000", "040a0801ff"),
    ("0.0.0.0/0", "0400000000", "04ffffffff"),
    ("fd00::2/128", "06fd000000000000000000000000000002", None),
    ("fd00::/8", "06fd" + "00" * 15, "06fd" + "ff" * 15),
]

ENDPOINTS = [
    ("192.0.2.1:51820", "c0000201ca6c"),
    ("[2001:db8::1]:1", "20010db8000000000000000000000001" + "0001"),
    ("[fe80::1%3]:65535", "fe800000000000000000000000000001" + "ffff" + "00000003"),
]


@pytest.mark.parametrize(("texts", "packed"), ALLOWED_IPS)
def test_allowed_ips(texts: tuple[str, ...], packed: str) -> None:
    prefixes = tuple(map(parse_allowed_ip, texts))
    assert packing.pack_allowed_ips(prefixes).hex() == packed
    assert packing.unpack_allowed_ips(bytes.fromhex(packed)) == prefixes


def test_every_truncation_of_allowed_ips_is_damage_or_a_shorter_list() -> None:
    texts, packed = ALLOWED_IPS[-1]
    prefixes = tuple(map(parse_allowed_ip, texts))
    whole = {0: 0, 6: 1, 24: 2, 30: 3}  # bytes: entries
    for length in range(len(packed) // 2 + 1):
        cut = bytes.fromhex(packed)[:length]
        if length in whole:
            assert packing.unpack_allowed_ips(cut) == prefixes[: whole[length]]
        else:
            with pytest.raises(ValueError, match="damaged"):
                packing.unpack_allowed_ips(cut)


@pytest.mark.parametrize(
    "packed", ["050a08000220", "040a08000221", "040a0800011f", "060a08000220", "04", "06" + "00" * 16 + "81"]
)
def test_damaged_allowed_ips(packed: str) -> None:
    """A family that is none, a prefix too long, host bits set: ValueError alone, and a StoreError for the row."""
    with pytest.raises(ValueError):  # noqa: PT011 - ipaddress's own words, not ours to fix
        packing.unpack_allowed_ips(bytes.fromhex(packed))
    with pytest.raises(StoreError, match="its row in the registry is damaged"):
        packing.row_peer(bytes(32), bytes.fromhex(packed), b"s" * 32, 0, 1, None, None, None)


@pytest.mark.parametrize(("text", "first", "last"), RANGES)
def test_ranges(text: str, first: str, last: str | None) -> None:
    packed = (bytes.fromhex(first), None if last is None else bytes.fromhex(last))
    prefix = parse_allowed_ip(text)
    assert packing.pack_range(prefix) == packed
    assert packing.pack_ranges(packing.pack_allowed_ips([prefix]), [prefix]) == [packed]
    assert packing.unpack_range(*packed) == prefix


@pytest.mark.parametrize(("text", "packed"), ENDPOINTS)
def test_endpoints(text: str, packed: str) -> None:
    endpoint = Endpoint.parse(text)
    assert packing.pack_endpoint(endpoint).hex() == packed
    assert packing.unpack_endpoint(bytes.fromhex(packed)) == endpoint
    for length in range(len(packed) // 2):
        if length not in (6, 18):  # an address without port and scope is another endpoint, not damage
            with pytest.raises(ValueError, match="damaged"):
                packing.unpack_endpoint(bytes.fromhex(packed)[:length])


@pytest.mark.parametrize(
    "row",
    [
        (bytes(31), b"", None, 0, 1, None, None, None),
        (bytes(32), b"", b"short", 0, 1, None, None, None),
        (bytes(32), b"", None, 70000, 1, None, None, None),
        (bytes(32), "text", None, 0, 1, None, None, None),
        (None, b"", None, 0, 1, None, None, None),
        (bytes(32), b"", None, 0, 1, None, None, 179),
        (bytes(32), b"", None, 0, 1, None, None, "1h"),
    ],
)
def test_damaged_rows(row: tuple) -> None:
    with pytest.raises(StoreError, match="damaged"):
        packing.row_peer(*row)


def test_damage_never_shows_the_preshared_key() -> None:
    with pytest.raises(StoreError) as failed:
        packing.row_peer(bytes(32), b"\xff", b"SECRET" * 5 + b"..", 0, 1, None, None, None)
    assert "SECRET" not in repr(failed.value)
    assert failed.value.__suppress_context__


@pytest.mark.parametrize(
    "row",
    [
        (b"short", "gw", bytes(6), 0.0, None),
        (bytes(12), "gw", bytes(7), 0.0, None),
        (bytes(12), "gw", bytes(6), 0.0, b"x"),
    ],
)
def test_damaged_claims(row: tuple) -> None:
    with pytest.raises(StoreError, match=r"claim .* damaged"):
        packing.row_claim(PublicKey(bytes(32)), *row)
