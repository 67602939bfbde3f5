"""Keys, endpoints and timestamps: text and bytes, both ways, and what is refused."""

from __future__ import annotations

import base64
import pickle
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.errors import InvalidValue
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.keys import PresharedKey, PrivateKey, PublicKey
from wgjit.wire.tai64n import Tai64n

EVERY_KEY = [PublicKey, PrivateKey, PresharedKey]
SECRET = bytes(range(100, 132))

# --- keys -------------------------------------------------------------------------------------------------------


def test_a_public_key_belongs_to_its_private_key() -> None:
    """RFC 7748, section 6.1: Bob."""
    private = PrivateKey(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert private.public().hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"


@given(raw=st.binary(min_size=32, max_size=32))
def test_keys_read_what_they_write(raw: bytes) -> None:
    assert PublicKey.parse(str(PublicKey(raw))) == raw
    assert PrivateKey.parse(PrivateKey(raw).reveal_base64()).reveal() == raw
    assert PresharedKey.parse(f" {PresharedKey(raw).reveal_base64()}\n") == PresharedKey(raw)


@pytest.mark.parametrize("kind", EVERY_KEY)
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(kind: type, size: int) -> None:
    with pytest.raises(InvalidValue, match=f"key: {size} bytes, must be 32"):
        kind(bytes(size))


@pytest.mark.parametrize("kind", EVERY_KEY)
@pytest.mark.parametrize("text", ["", "key", "A" * 44, "é" * 44, base64.b64encode(bytes(31)).decode(), "!" + "A" * 43])
def test_text_that_is_no_key_is_refused(kind: type[PublicKey | PrivateKey | PresharedKey], text: str) -> None:
    with pytest.raises(InvalidValue, match="key: not a WireGuard key; write 44 characters of base64"):
        kind.parse(text)


@pytest.mark.parametrize("kind", [PrivateKey, PresharedKey])
def test_secrets_stay_inside(kind: type[PrivateKey | PresharedKey]) -> None:
    secret = kind(SECRET)
    shown = f"{secret} {secret!r} {[secret]}"
    assert shown.count("redacted") == 3
    assert secret.reveal_base64() not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    almost = secret.reveal_base64()[:-2]
    with pytest.raises(InvalidValue) as caught:
        kind.parse(almost)
    assert almost not in str(caught.value)


def test_kinds_of_key_are_not_equal() -> None:
    assert PrivateKey(SECRET) == PrivateKey(SECRET)
    assert len({PrivateKey(SECRET), PrivateKey(SECRET), PresharedKey(SECRET)}) == 2
    assert PrivateKey(SECRET) != PresharedKey(SECRET)
    assert PrivateKey(SECRET) != SECRET
    assert PrivateKey.generate() != PrivateKey.generate()


# --- endpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address", "port", "scope"),
    [
        ("192.0.2.1:51820", "c0000201", 51820, 0),
        ("[2001:db8::1]:1", "20010db8000000000000000000000001", 1, 0),
        ("[fe80::1%7]:65535", "fe800000000000000000000000000001", 65535, 7),
    ],
)
def test_endpoints_read_what_they_write(text: str, address: str, port: int, scope: int) -> None:
    endpoint = Endpoint.parse(text)
    assert endpoint == (bytes.fromhex(address), port, scope)
    assert str(endpoint) == text


def test_a_scope_may_be_a_name() -> None:
    assert Endpoint.parse("[fe80::1%lo]:1").scope == socket.if_nametoindex("lo")
    with pytest.raises(InvalidValue, match="no interface 'no-such'"):
        Endpoint.parse("[fe80::1%no-such]:1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:-1",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "192.0.2:1",
        "2001:db8::1:51820",
        "[::1]",
        "[192.0.2.1]:1",
        "host:1",
    ],
)
def test_text_that_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"write 192\.0\.2\.1:51820 or"):
        Endpoint.parse(text)


# --- timestamps -------------------------------------------------------------------------------------------------


def test_a_timestamp_is_what_the_kernel_makes_of_the_time() -> None:
    """0x400000000000000a seconds is the Unix epoch (kernel noise.c, tai64n_now)."""
    assert Tai64n.from_unix(0).hex() == "400000000000000a00000000"
    assert Tai64n.from_unix_ns(1_500_000_001).hex() == "400000000000000b1dcd6501"
    assert str(Tai64n.from_unix_ns(1_500_000_001)) == "1970-01-01T00:00:01.500000001Z"


@given(first=st.integers(-(2**40), 2**50), second=st.integers(-(2**40), 2**50))
def test_timestamps_are_ordered_as_their_times(first: int, second: int) -> None:
    stamps = Tai64n.from_unix_ns(first), Tai64n.from_unix_ns(second)
    assert (stamps[0] < stamps[1]) == (first < second)
    assert stamps[0].unix == pytest.approx(first / 1e9, abs=1e-6)


@given(raw=st.binary(min_size=12, max_size=12))
def test_any_twelve_bytes_are_a_timestamp_that_prints(raw: bytes) -> None:
    """A client chooses them."""
    stamp = Tai64n(raw)
    assert str(stamp).endswith("Z") or str(stamp) == "@" + raw.hex()
    assert isinstance(stamp.unix, float)


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_timestamp_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(InvalidValue, match=f"timestamp: {size} bytes"):
        Tai64n(bytes(size))
