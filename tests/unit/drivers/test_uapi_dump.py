"""A crowd's answer read by one expression, held to the reading line by line; neither knows the other."""

from __future__ import annotations

import contextlib
import io
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.drivers.wireguard.recall import Recall
from wgjit.drivers.wireguard.userspace.dump import Prefixes, read_dump, read_entry
from wgjit.drivers.wireguard.userspace.messages import read_answer, read_peers
from wgjit.errors import MalformedAnswer
from wgjit.model import DevicePeer

KEY = "4f" * 32
keys = st.binary(min_size=32, max_size=32).map(bytes.hex)
numbers = st.integers(0, 10**18 - 1)
addresses = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda address: f"[{address}]"))
prefixes = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ipaddress.ip_network(pair, strict=False))


@st.composite
def entries(draw: st.DrawFn) -> str:
    """A peer as wireguard-go writes it, from behind its `public_key=`."""
    endpoint = draw(
        st.one_of(st.just(""), st.tuples(addresses, st.integers(0, 65535)).map("endpoint={0[0]}:{0[1]}\n".format))
    )
    return (
        f"{draw(keys)}\npreshared_key={draw(st.one_of(keys, st.just('0' * 64)))}\nprotocol_version=1\n{endpoint}"
        f"last_handshake_time_sec={draw(numbers)}\nlast_handshake_time_nsec={draw(st.integers(0, 999_999_999))}\n"
        f"tx_bytes={draw(numbers)}\nrx_bytes={draw(numbers)}\n"
        f"persistent_keepalive_interval={draw(st.integers(0, 65535))}\n"
        + "".join(f"allowed_ip={prefix}\n" for prefix in draw(st.lists(prefixes, max_size=4)))
    )


def whole(texts: list[str]) -> bytes:
    head = f"private_key={KEY}\nlisten_port=1\n"
    return (head + "".join(f"public_key={text}" for text in texts) + "errno=0\n\n").encode()


def line_by_line(answer: bytes) -> list[DevicePeer]:
    return list(read_peers(read_answer(io.BytesIO(answer))))


@given(st.lists(entries(), max_size=5))
def test_a_crowd_is_read_as_line_by_line(texts: list[str]) -> None:
    answer = whole(texts)
    assert list(read_dump(answer)) == line_by_line(answer)
    assert None not in [read_entry(text.encode(), Recall()) for text in texts], "the slow way was taken"


def test_what_has_not_changed_is_the_same_object_in_the_next_dump() -> None:
    text = (
        f"{KEY}\npreshared_key={'0' * 64}\nprotocol_version=1\nlast_handshake_time_sec=1\nlast_handshake_time_nsec=5\n"
        "tx_bytes=92\nrx_bytes=148\npersistent_keepalive_interval=25\nallowed_ip=10.8.0.2/32\n"
    )
    recall = Prefixes()
    [one], [two] = (list(read_dump(whole([each]), recall)) for each in (text, text.replace("148", "149")))
    assert (one.rx_bytes, two.rx_bytes) == (148, 149)
    assert one.allowed_ips is two.allowed_ips


@given(st.lists(entries(), min_size=1, max_size=3), st.data())
def test_what_is_written_otherwise_is_read_the_same_or_refused_the_same(texts: list[str], data: st.DataObject) -> None:
    lines = [line for text in texts for line in f"public_key={text}".splitlines()]
    place = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["drop", "double", "swap", "noise"])):
        case "drop":
            del lines[place]
        case "double":
            lines.insert(place, lines[place])
        case "swap":
            lines[place], lines[0] = lines[0], lines[place]
        case _:
            lines[place] = lines[place][: data.draw(st.integers(0, 80))] + data.draw(st.sampled_from("x9-/:%. =é٣"))
    answer = ("\n".join(lines) + "\nerrno=0\n\n").encode()
    try:
        expected = line_by_line(answer)
    except MalformedAnswer:
        if lines[0].startswith("public_key="):  # what stands before the first peer is not read here
            with pytest.raises(MalformedAnswer):
                list(read_dump(answer))
    else:
        assert list(read_dump(answer)) == expected


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("persistent_keepalive_interval=25", "persistent_keepalive_interval=65536"),
        ("endpoint=192.0.2.1:40000", "endpoint=192.0.2.1:70000"),
        ("endpoint=192.0.2.1:40000", "endpoint=192.0.2.256:40000"),
        ("allowed_ip=10.8.0.2/32", "allowed_ip=10.8.0.2/33"),
        ("allowed_ip=10.8.0.2/32", "allowed_ip=10.8.0.2/8"),
        ("rx_bytes=148", "rx_bytes=" + "9" * 30),
        ("rx_bytes=148", "rx_bytes=-1"),
    ],
)
def test_a_value_that_cannot_be_is_malformed(line: str, instead: str) -> None:
    text = (
        f"{KEY}\npreshared_key={'0' * 64}\nprotocol_version=1\nendpoint=192.0.2.1:40000\nlast_handshake_time_sec=1\n"
        "last_handshake_time_nsec=5\ntx_bytes=92\nrx_bytes=148\npersistent_keepalive_interval=25\nallowed_ip=10.8.0.2/32\n"
    )
    assert len(list(read_dump(whole([text])))) == 1
    with pytest.raises(MalformedAnswer, match="UAPI: ") as caught:
        list(read_dump(whole([text.replace(line, instead)])))
    assert instead.partition("=")[2] not in str(caught.value)


@pytest.mark.parametrize("errno", ["-5", "5"])
def test_an_error_comes_before_any_peer(errno: str) -> None:
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        next(read_dump(f"public_key={KEY}\nerrno={errno}\n\n".encode()))


@given(st.binary(max_size=200))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    for answer in (noise, noise + b"errno=0\n\n", b"public_key=" + noise + b"\nerrno=0\n\n"):
        with contextlib.suppress(MalformedAnswer, OSError):
            list(read_dump(answer))
