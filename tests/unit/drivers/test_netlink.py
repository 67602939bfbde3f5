"""The netlink codec. Invariant: whatever the bytes, only MalformedAnswer comes out, and without them."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.drivers.netlink.codec import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    Codec,
    Message,
    Table,
    accepts,
    array,
    decode_verdict,
    encode_attribute,
    encode_message,
    exactly,
    split_attributes,
    split_messages,
)
from wgjit.errors import MalformedAnswer

INNER = Table("inner", {1: ("small", U8), 2: ("name", TEXT)})
OUTER = Table(
    "outer",
    {
        1: ("short", U16),
        2: ("word", U32),
        3: ("long", U64),
        4: ("key", exactly(32)),
        5: ("items", array(Codec(INNER.encode, INNER.decode))),
    },
)
values = st.fixed_dictionaries(
    {},
    optional={
        "short": st.integers(0, 0xFFFF),
        "word": st.integers(0, 0xFFFFFFFF),
        "long": st.integers(0, 0xFFFFFFFFFFFFFFFF),
        "key": st.binary(min_size=32, max_size=32),
        "items": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "small": st.integers(0, 255),
                    "name": st.text("abcé-", max_size=9),
                },
            ),
            max_size=4,
        ),
    },
)


@given(values)
def test_what_a_table_writes_it_reads(fields: dict[str, object]) -> None:
    assert OUTER.decode(OUTER.encode(fields)) == fields


def test_the_bytes_are_those_of_the_header_files() -> None:
    fields = {"short": 0x0102, "items": [{"small": 7, "name": "ab"}]}
    nest = struct.pack("=HHB3xHH3sx", 5, 1, 7, 7, 2, b"ab\0")
    assert (
        OUTER.encode(fields)
        == struct.pack("=HHH2xHHHH", 6, 1, 0x0102, 4 + 4 + len(nest), 0x8005, 4 + len(nest), 0x8000) + nest
    )
    assert (
        encode_message(16, NLM_F_ACK, 9, b"body")
        == struct.pack("=IHHII", 20, 16, NLM_F_ACK | NLM_F_REQUEST, 9, 0) + b"body"
    )


def test_attributes_that_the_table_does_not_name_are_skipped() -> None:
    data = encode_attribute(99, b"what") + OUTER.encode({"word": 1}) + encode_attribute(0, b"")
    assert OUTER.decode(data) == {"word": 1}


WHOLE = OUTER.encode(
    {"short": 1, "word": 2, "long": 3, "key": bytes(range(32)), "items": [{"small": 1, "name": "x"}] * 2}
)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_every_truncation_is_shorter_or_malformed(length: int) -> None:
    try:
        found = OUTER.decode(WHOLE[:length])
    except MalformedAnswer:
        return
    assert len(found) < 5 or length >= len(WHOLE) - 3  # the last padding may be missing


@pytest.mark.parametrize("length", [0, 1, 2, 3, 9])
def test_an_attribute_shorter_than_its_header_or_longer_than_the_rest_is_malformed(length: int) -> None:
    with pytest.raises(MalformedAnswer, match="an attribute's length"):
        split_attributes(encode_attribute(1, b"") + struct.pack("=HH4x", length, 1))


@pytest.mark.parametrize("length", [0, 15, 21])
def test_a_message_shorter_than_its_header_or_longer_than_the_rest_is_malformed(length: int) -> None:
    with pytest.raises(MalformedAnswer, match="a message's length"):
        list(split_messages(struct.pack("=IHHII4x", length, 20, 0, 1, 0)))


@given(st.binary(max_size=300), st.integers(0, 400))
def test_nothing_but_malformed_answer_comes_out(noise: bytes, place: int) -> None:
    for data in (noise, WHOLE[:place] + noise + WHOLE[place + len(noise) :]):
        for read in (OUTER.decode, split_attributes, lambda data: list(split_messages(data))):
            with contextlib.suppress(MalformedAnswer):
                read(data)


@pytest.mark.parametrize("content", [b"", b"\1", bytes(3), bytes(31), bytes(33)])
def test_a_malformed_attribute_is_named_and_its_content_is_not(content: bytes) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        OUTER.decode(encode_attribute(4, content))
    assert str(caught.value) == "netlink: outer: malformed attribute key"


def test_a_datagram_is_split_into_its_messages() -> None:
    data = encode_message(20, 0, 1, b"abc") + b"\0" + encode_message(21, 2, 2, b"")
    assert list(split_messages(data)) == [Message(20, 1, 1, b"abc"), Message(21, 3, 2, b"")]


@pytest.mark.parametrize("length", range(1, 39))
def test_every_truncation_of_a_datagram_is_malformed(length: int) -> None:
    data = encode_message(20, 0, 1, b"abcd") + encode_message(21, 2, 2, b"ef")
    if length == 20:
        assert len(list(split_messages(data[:length]))) == 1
    elif length < len(data):
        with pytest.raises(MalformedAnswer):
            list(split_messages(data[:length]))


# --- acknowledgements -----------------------------------------------------------------------------------------

TEXT_ATTRIBUTE = encode_attribute(1, b"Attribute failed policy validation\0")
ECHO = struct.pack("=IHHII", 24, 20, 5, 1, 0)


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        (Message(NLMSG_ERROR, 0, 1, struct.pack("=i", 0) + ECHO), (0, "")),
        (Message(NLMSG_ERROR, 0, 1, struct.pack("=i", -19) + ECHO + b"echo-ed."), (19, "")),
        (
            Message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 1, struct.pack("=i", -22) + ECHO + TEXT_ATTRIBUTE),
            (22, "Attribute failed policy validation"),
        ),
        (
            Message(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, struct.pack("=i", -22) + ECHO + b"echo-ed." + TEXT_ATTRIBUTE),
            (22, "Attribute failed policy validation"),
        ),
        (Message(NLMSG_DONE, 0, 1, struct.pack("=i", -4)), (4, "")),
        (
            Message(NLMSG_DONE, NLM_F_ACK_TLVS, 1, struct.pack("=i", -22) + TEXT_ATTRIBUTE),
            (22, "Attribute failed policy validation"),
        ),
    ],
)
def test_an_acknowledgement_tells_errno_and_text(message: Message, verdict: tuple[int, str]) -> None:
    assert decode_verdict(message) == verdict
    for length in range(len(message.body)):
        try:
            decode_verdict(message._replace(body=message.body[:length]))
        except MalformedAnswer:
            continue
        assert length >= 4


@given(
    st.integers(0, 3), st.sampled_from([0, NLM_F_CAPPED, NLM_F_CAPPED | NLM_F_ACK_TLVS]), st.integers(6, 8),
    st.sampled_from([0, -1, -22]), st.integers(14, 18),
)  # fmt: skip
def test_the_plain_yes_is_what_the_codec_calls_one(kind: int, flags: int, answered: int, errno: int, echo: int) -> None:
    body = struct.pack("=i", errno) + bytes(echo)
    data = encode_message(kind, flags, answered, body)
    if accepts(data, 7):
        (message,) = split_messages(data)
        assert (message.kind, message.sequence) == (NLMSG_ERROR, 7)
        assert decode_verdict(message) == (0, "")
    else:
        assert (kind, answered, errno, echo) != (NLMSG_ERROR, 7, 0, 16) or flags & NLM_F_ACK_TLVS
    assert not accepts(data + data, 7)
    assert not accepts(data[:-1], 7)
