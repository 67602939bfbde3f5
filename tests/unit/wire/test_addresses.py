"""Addresses, prefixes and keys as `wg` reads them: what it refuses is refused here, everywhere."""

from __future__ import annotations

import base64
import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.store import key
from wgjit.config import InterfaceSettings
from wgjit.drivers.wireguard.userspace.messages import read_peers
from wgjit.errors import InvalidValue, MalformedAnswer
from wgjit.management import dumps, wg_config
from wgjit.model import Endpoint, PresharedKey, PublicKey, parse_allowed_ip
from wgjit.stores import peer_json
from wgjit.wire.addresses import parse_address, parse_interface, parse_prefix

REFUSED = [
    "10.8.0.2/0.0.0.0",
    "10.8.0.0/255.255.255.0",
    "10.8.0.0/0.0.0.255",
    "fe80::1%wg0/128",
    "fe80::%1/64",
    "fd00::/ffff::",
    "10.8.0.2/33",
    "10.8.0.2/-1",
    "10.8.0.2/+32",
    "10.8.0.2/3_2",
    "10.8.0.2/",
    "10.8.0.2/٣٢",
    "+10.8.0.2/32",
    "-10.8.0.2/32",
    "10.8.0.2/32 10.8.0.3/32",
    "10.8.0",
    "010.8.0.2/32",
    "0x0a.8.0.2",
    "168296450",
    "fd00:::1",
    "10.8.0.2/32/32",
    "localhost",
    "10.8.0.2\0/32",
    "",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_wg_refuses_is_refused_everywhere(text: str) -> None:
    for parse in (parse_prefix, parse_interface, parse_allowed_ip, wg_config.read_prefixes):
        if text or parse is not wg_config.read_prefixes:  # blank AllowedIPs are none
            with pytest.raises(InvalidValue):
                parse(text)
    with pytest.raises(InvalidValue):
        peer_json.from_json(json.dumps({"public_key": str(key(1)), "allowed_ips": [text]}))
    with pytest.raises(MalformedAnswer):
        list(read_peers([("public_key", key(1).hex()), ("allowed_ip", text)]))
    for field in ("addresses", "routes"):
        with pytest.raises(ValueError, match="valid IPv4 or IPv6"):
            InterfaceSettings.model_validate({field: [text]})
    if text:
        with pytest.raises(InvalidValue):
            dumps.Dump().line(f"{key(1)}\t(none)\t(none)\t{text}\t0\t0\t0\toff")


def test_settings_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="valid IPv4 or IPv6"):
        InterfaceSettings.model_validate({"addresses": [168296450]})


def test_what_is_said() -> None:
    for text, why in (
        ("10.8.0.2/255.0.0.0", "a mask is no length of 0 to 32"),
        ("fe80::1%wg0/128", "a zone, what is behind %"),
        ("+10.8.0.2/32", "for `wg set` alone"),
        ("10.8.0.2/32 10.8.0.3/32", "separate prefixes by commas"),
    ):
        with pytest.raises(InvalidValue, match=why):
            parse_prefix(text)
    with pytest.raises(InvalidValue, match=r"write 10\.8\.0\.0/24 or 10\.8\.0\.2"):
        parse_prefix("10.8.0.2/24")


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 32))
def test_the_rest_is_read_as_written(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> None:
    assert parse_address(str(address)) == address
    own = ipaddress.ip_interface(f"{address}/{length}")
    assert parse_interface(str(own)) == own
    assert parse_prefix(str(own), mask_host_bits=True) == own.network
    assert parse_prefix(str(own.network)) == parse_allowed_ip(f" {own.network} ") == own.network
    assert parse_prefix(str(address)).prefixlen == address.max_prefixlen


@given(st.binary(min_size=32, max_size=32), st.integers(1, 3))
def test_keys_are_written_in_one_way(raw: bytes, bits: int) -> None:
    text = base64.b64encode(raw).decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:42] + alphabet[alphabet.index(text[42]) | bits] + "="  # the same bytes for a lenient reader
    for kind in (PublicKey, PresharedKey):
        kind.parse(f" {text}\n")
        with pytest.raises(InvalidValue):
            kind.parse(other)


@pytest.mark.parametrize("text", ["192.0.2.1:+5", "192.0.2.1:5_1", "192.0.2.1:٥", "192.0.2.1: 5", "192.0.2.1:"])
def test_ports_are_digits(text: str) -> None:
    with pytest.raises(InvalidValue):
        Endpoint.parse(text)
