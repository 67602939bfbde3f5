"""Handshake messages, bytes <-> values, over everything recorded from real implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.vectors import HANDSHAKES
from wgjit.refusal import Refusal
from wgjit.wire import messages


class Codec(NamedTuple):
    kind: str
    type: int
    length: int
    parse: Callable[[bytes], Any]
    build: Callable[..., bytes]


CODECS = [
    Codec("initiation", 1, 148, messages.parse_initiation, messages.build_initiation),
    Codec("response", 2, 92, messages.parse_response, messages.build_response),
    Codec("cookie_reply", 3, 64, messages.parse_cookie_reply, messages.build_cookie_reply),
]
RECORDED = [
    pytest.param(codec, handshake.message(codec.kind), id=f"{handshake.name}, {codec.kind}")
    for codec in CODECS
    for handshake in HANDSHAKES
    if codec.kind in handshake.packets
]
BY_CODEC = [pytest.param(codec, id=codec.kind) for codec in CODECS]


def test_every_kind_was_recorded_from_every_implementation() -> None:
    """The tables below are not empty."""
    assert len(RECORDED) >= 2 * (10 + 9 + 1)


@pytest.mark.parametrize(("codec", "message"), RECORDED)
def test_parse_and_build_are_inverse(codec: Codec, message: bytes) -> None:
    value = codec.parse(message)
    assert value.raw == message
    assert codec.build(*value[1:]) == message
    assert len(message) == codec.length == messages.LENGTH[codec.type]


@pytest.mark.parametrize(("codec", "message"), RECORDED)
def test_every_truncation_and_every_extension_is_refused(codec: Codec, message: bytes) -> None:
    for size in range(len(message)):
        assert codec.parse(message[:size]) is Refusal.BAD_LENGTH
    for more in (1, 16, 1000):
        assert codec.parse(message + bytes(more)) is Refusal.BAD_LENGTH


@pytest.mark.parametrize(("codec", "message"), RECORDED)
def test_type_and_reserved_bytes(codec: Codec, message: bytes) -> None:
    for kind in {*range(256)} - {codec.type}:
        assert codec.parse(bytes([kind]) + message[1:]) is Refusal.BAD_TYPE
    for offset in (1, 2, 3):
        for value in (1, 0x80, 0xFF):
            assert codec.parse(message[:offset] + bytes([value]) + message[offset + 1 :]) is Refusal.BAD_RESERVED


def test_fields_are_where_the_paper_puts_them() -> None:
    message = b"\1\0\0\0" + bytes(range(4, 148))
    assert messages.parse_initiation(message) == messages.Initiation(
        raw=message,
        sender=0x07060504,
        ephemeral=message[8:40],
        encrypted_static=message[40:88],
        encrypted_timestamp=message[88:116],
        mac1=message[116:132],
        mac2=message[132:148],
    )
    message = b"\2\0\0\0" + bytes(range(4, 92))
    assert messages.parse_response(message) == messages.Response(
        raw=message,
        sender=0x07060504,
        receiver=0x0B0A0908,
        ephemeral=message[12:44],
        encrypted_nothing=message[44:60],
        mac1=message[60:76],
        mac2=message[76:92],
    )
    message = b"\3\0\0\0" + bytes(range(4, 64))
    assert messages.parse_cookie_reply(message) == messages.CookieReply(
        raw=message, receiver=0x07060504, nonce=message[8:32], encrypted_cookie=message[32:64]
    )


@pytest.mark.parametrize("codec", BY_CODEC)
@given(data=st.data())
def test_no_bytes_raise(codec: Codec, data: st.DataObject) -> None:
    exact = st.binary(min_size=codec.length, max_size=codec.length)
    typed = exact.map(lambda message: bytes([codec.type, 0, 0, 0]) + message[4:])
    message = data.draw(st.one_of(st.binary(max_size=200), exact, typed))
    value = codec.parse(message)
    assert isinstance(value, Refusal) or codec.build(*value[1:]) == message
