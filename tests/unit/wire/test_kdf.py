"""Our HMAC, HKDF and XChaCha20 against the standard library's, RFC 7693's and the draft's."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.vectors import COOKIES
from wgjit.wire import kdf
from wgjit.wire.cookie import hchacha20, open_cookie, seal_cookie
from wgjit.wire.messages import parse_cookie_reply, parse_initiation

keys = st.binary(min_size=32, max_size=32)


def reference(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2s")


def test_hash_is_blake2s() -> None:
    expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"  # RFC 7693, appendix B: "abc"
    assert kdf.hash_(b"abc").hex() == expected


@given(key=keys, data=st.binary(max_size=200))
def test_hmac(key: bytes, data: bytes) -> None:
    inner, outer = kdf.padded(key)
    written_out = kdf.hash_(outer + kdf.hash_(inner + data))
    assert kdf.hmac(key, data) == written_out == reference(key, data)


@given(key=keys, data=st.binary(max_size=64))
def test_kdf(key: bytes, data: bytes) -> None:
    secret = reference(key, data)
    first = reference(secret, b"\x01")
    second = reference(secret, first + b"\x02")
    third = reference(secret, second + b"\x03")
    assert kdf.kdf1(key, data) == kdf.kdf1_padded(*kdf.padded(key), data) == first
    assert kdf.kdf2(key, data) == (first, second)
    assert kdf.kdf3(key, data) == (first, second, third)


@given(key=keys, data=st.binary(max_size=200))
def test_mac_is_keyed_blake2s(key: bytes, data: bytes) -> None:
    assert kdf.mac(key, data) == hashlib.blake2s(data, key=key, digest_size=16).digest()


@given(
    key=keys, plaintext=st.binary(max_size=100), additional=st.binary(max_size=40), counter=st.integers(0, 2**64 - 1)
)
def test_aead(key: bytes, plaintext: bytes, additional: bytes, counter: int) -> None:
    nonce = kdf.nonce(counter)
    sealed = kdf.seal(key, plaintext, additional, nonce)
    assert kdf.open_(key, sealed, additional, nonce) == plaintext
    assert kdf.open_(key, sealed, additional + b"x", nonce) is None
    assert kdf.open_(key, sealed, additional, kdf.nonce(counter ^ 1)) is None
    for size in range(len(sealed)):
        assert kdf.open_(key, sealed[:size], additional, nonce) is None


def test_the_counter_is_little_endian_behind_four_zeros() -> None:
    """Paper, section 5.4."""
    assert kdf.nonce(0x0102) == bytes.fromhex("00000000 0201000000000000")


def test_hchacha20() -> None:
    """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    key = bytes(range(32))
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(key, nonce).hex() == expected


def test_cookies_are_sealed_as_real_implementations_seal_them() -> None:
    assert len(COOKIES) == 2
    for handshake in COOKIES:
        responder = handshake.responder.public()
        reply = parse_cookie_reply(handshake.message("cookie_reply"))
        initiation = parse_initiation(handshake.message("initiation"))
        cookie = open_cookie(responder, reply, initiation.mac1)
        assert cookie is not None
        assert len(cookie) == 16
        assert seal_cookie(responder, reply.nonce, cookie, initiation.mac1) == reply.encrypted_cookie
        assert open_cookie(handshake.initiator.public(), reply, initiation.mac1) is None
        assert open_cookie(responder, reply, initiation.mac2) is None
