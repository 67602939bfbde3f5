"""The UAPI text protocol, and a device behind a socket that misbehaves."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.device import new_key, prefixes
from wgjit.drivers.wireguard.userspace import connection as uapi_connection
from wgjit.drivers.wireguard.userspace import device as uapi_device
from wgjit.drivers.wireguard.userspace.device import UserspaceDevice
from wgjit.drivers.wireguard.userspace.messages import (
    encode_changes,
    encode_interface,
    read_answer,
    read_interface,
    read_peers,
)
from wgjit.errors import DeviceError, DeviceFull, MalformedAnswer, NoSuchDevice, NotPermitted
from wgjit.model import DevicePeer, Endpoint, PeerChange, PresharedKey, PrivateKey, PublicKey

A, B, SECRET = "4f" * 32, "d2" * 32, "5e" * 32

ANSWER = f"""private_key={SECRET}
listen_port=54437
fwmark=9
public_key={A}
preshared_key={"0" * 64}
protocol_version=1
endpoint=[fe80::7%1]:0
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=92
rx_bytes=148
persistent_keepalive_interval=25
allowed_ip=10.8.0.2/32
allowed_ip=fd00::/64
public_key={B}
preshared_key={SECRET}
endpoint=192.0.2.1:40000
something_new=whatever
errno=0

"""
PEERS = [
    DevicePeer(
        PublicKey.fromhex(A),
        prefixes("10.8.0.2", "fd00::/64"),
        None,
        Endpoint(bytes.fromhex("fe80" + "00" * 13 + "07"), 0, 1),
        25,
        1_700_000_000.5,
        148,
        92,
    ),
    DevicePeer(PublicKey.fromhex(B), (), PresharedKey(bytes.fromhex(SECRET)), Endpoint(bytes([192, 0, 2, 1]), 40000)),
]


def answer(text: str | bytes) -> Iterator[tuple[str, str]]:
    return read_answer(io.BytesIO(text.encode() if isinstance(text, str) else text))


# --- reading --------------------------------------------------------------------------------------------------


def test_peers_are_read_whole() -> None:
    assert list(read_peers(answer(ANSWER))) == PEERS


def test_the_interface_is_read_without_its_peers() -> None:
    stream = io.BytesIO(ANSWER.encode())
    info = read_interface("wg0", 3, read_answer(stream))
    assert (info.name, info.index, info.listen_port, info.fwmark) == ("wg0", 3, 54437, 9)
    assert info.private_key == PrivateKey(bytes.fromhex(SECRET))
    assert stream.readline().startswith(b"preshared_key=")  # it stopped at the first peer
    assert read_interface("wg0", 3, answer("errno=0\n\n")).private_key is None


def test_an_error_is_an_errno_of_either_sign() -> None:
    for text in ("errno=-22\n\n", "errno=22\n\n", f"public_key={A}\nerrno=22\n\n"):
        with pytest.raises(OSError, match=r"\[Errno 22\]"):
            list(answer(text))


def test_an_answer_that_ends_early_is_a_broken_connection() -> None:
    for length in range(len(ANSWER) - 2):
        with pytest.raises((ConnectionResetError, MalformedAnswer)):
            list(read_peers(answer(ANSWER[:length])))


@pytest.mark.parametrize(
    "line",
    [
        "no equals sign",
        "=without a key",
        f"public_key={A[:-2]}",
        f"public_key={'zz' * 32}",
        f"preshared_key={SECRET}00",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "rx_bytes=-1",
        "rx_bytes=" + "9" * 30,
        "last_handshake_time_nsec=1000000000",
        "allowed_ip=10.8.0.1/8",
        "allowed_ip=10.8.0.0/33",
        "endpoint=192.0.2.1",
        "endpoint=192.0.2.1:70000",
        "endpoint=[fe80::x]:1",
        "endpoint=host:1",
        "endpoint=192.0.2.1%2:4000",
        "errno=what",
        "errno=99999",
        "x=" + "y" * 5000,
    ],
)
def test_a_line_that_cannot_be_is_malformed_and_not_repeated(line: str) -> None:
    with pytest.raises(MalformedAnswer, match="UAPI: ") as caught:
        list(read_peers(answer(f"public_key={B}\n{line}\nerrno=0\n\n")))
    value = line.partition("=")[2]
    assert not value or value not in str(caught.value)


def test_an_endpoint_whose_interface_is_gone_does_not_lose_the_peer() -> None:
    [peer] = read_peers(answer(f"public_key={A}\nendpoint=[fe80::7%gone0]:9\nerrno=0\n\n"))
    assert peer.endpoint == Endpoint(bytes.fromhex("fe80" + "00" * 13 + "07"), 9, 0)


@given(st.binary(max_size=200), st.integers(0, len(ANSWER)))
def test_noise_raises_nothing_else(noise: bytes, place: int) -> None:
    raw = ANSWER.encode()
    for text in (noise, raw[:place] + noise + raw[place:]):
        for read in (lambda pairs: list(read_peers(pairs)), lambda pairs: read_interface("wg0", 1, pairs)):
            with contextlib.suppress(MalformedAnswer, OSError):
                read(answer(text))


# --- writing --------------------------------------------------------------------------------------------------


def test_changes_are_written_in_order() -> None:
    first, second = PublicKey.fromhex(A), PublicKey.fromhex(B)
    changes = [
        PeerChange(
            first,
            update_only=True,
            preshared_key=PresharedKey(bytes.fromhex(SECRET)),
            endpoint=Endpoint.parse("[fe80::7%1]:9"),
            keepalive=0,
            allowed_ips=prefixes("10.8.0.2", "fd00::/64"),
        ),
        PeerChange(second, remove=True, keepalive=9),
        PeerChange(second),
        PeerChange(second, allowed_ips=()),
    ]
    assert encode_changes(changes).decode().splitlines() == [
        "set=1",
        f"public_key={A}",
        "update_only=true",
        f"preshared_key={SECRET}",
        "endpoint=[fe80::7%1]:9",
        "persistent_keepalive_interval=0",
        "replace_allowed_ips=true",
        "allowed_ip=10.8.0.2/32",
        "allowed_ip=fd00::/64",
        f"public_key={B}",
        "remove=true",
        f"public_key={B}",
        f"public_key={B}",
        "replace_allowed_ips=true",
        "",
    ]


def test_the_interface_is_set_field_by_field() -> None:
    key = PrivateKey(bytes.fromhex(SECRET))
    assert encode_interface() == b"set=1\n\n"
    assert encode_interface(key, 0) == f"set=1\nprivate_key={SECRET}\nlisten_port=0\n\n".encode()


# --- a socket that misbehaves ---------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes | None], UserspaceDevice]]:
    """Give a device whose process answers each connection with these bytes and hangs up; None: never answers."""
    with contextlib.ExitStack() as stack:

        def start(reply: bytes | None) -> UserspaceDevice:
            device = UserspaceDevice("wg0", tmp_path)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(device.path))
            listener.listen()
            if reply is not None:
                threading.Thread(target=answer_all, args=(listener, reply), daemon=True).start()
            return device

        def answer_all(listener: socket.socket, reply: bytes) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(1 << 16)
                        connection.sendall(reply)

        yield start


CALLS: list[Callable[[UserspaceDevice], object]] = [
    lambda device: device.info(),
    lambda device: list(device.peers()),
    lambda device: device.apply([PeerChange(new_key())]),
    lambda device: device.set_interface(listen_port=9),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (b"", NoSuchDevice, "nothing answers at"),
        (b"garbage\n\n", MalformedAnswer, "UAPI: a line that is not key=value"),
        (b"\xff\xfe=\n" * 3, NoSuchDevice, "nothing answers at"),
        (b"errno=-12\n\n", DeviceFull, "cannot take another peer"),
        (b"errno=5\n\n", DeviceError, "Input/output error"),
    ],
)
def test_a_misbehaving_process_is_a_device_error(
    serve: Callable[[bytes], UserspaceDevice],
    call: Callable[[UserspaceDevice], object],
    reply: bytes,
    error: type[DeviceError],
    text: str,
) -> None:
    device = serve(reply)
    with pytest.raises(error, match=text):
        call(device)


@pytest.mark.parametrize("call", CALLS)
def test_a_silent_process_is_not_waited_for_for_ever(
    serve: Callable[[None], UserspaceDevice],
    call: Callable[[UserspaceDevice], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uapi_connection, "_TIMEOUT", 0.02)
    device = serve(None)
    with pytest.raises(DeviceError, match="wg0: no answer in time"):
        call(device)


@pytest.mark.parametrize("call", CALLS)
def test_an_absent_or_abandoned_socket_is_no_such_device(
    tmp_path: Path, call: Callable[[UserspaceDevice], object]
) -> None:
    device = UserspaceDevice("wg0", tmp_path)
    with pytest.raises(NoSuchDevice, match=r"wg0\.sock"):
        call(device)
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(device.path))
    with pytest.raises(NoSuchDevice, match=r"wg0\.sock"):
        call(device)


def test_a_socket_of_another_account_is_told_with_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(uapi_device, "Connection", closed)
    with pytest.raises(NotPermitted) as told:
        UserspaceDevice("wg0", tmp_path).info()
    assert str(told.value).startswith(f"wg0: {tmp_path}/wg0.sock answers only to the account that started its process")
    assert "let wgjit make the interface" in str(told.value)
    assert "a change ends wireguard-go" in str(told.value), "chown and chmod look like the way out"
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(NotPermitted, match=f"wg0: {tmp_path} is closed to this account"):
        UserspaceDevice("wg0", tmp_path).info()


# --- the connection that is kept --------------------------------------------------------------------------------


class Talker:
    """A process that answers operation after operation on a connection, and is told how to misbehave."""

    def __init__(self, path: Path) -> None:
        self.connections: list[socket.socket] = []
        self.reply = b"errno=0\n\n"
        self.answered: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        """The connection of each operation, once the reply of that moment is sent: another reply is for later ones."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                if line == b"\n":
                    connection.sendall(self.reply)
                    self.answered.put(connection)

    def hang_up(self) -> None:
        self.connections[-1].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in (self._listener, *self.connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def talker(tmp_path: Path) -> Iterator[Talker]:
    with contextlib.closing(Talker(tmp_path / "wg0.sock")) as talker:
        yield talker


@pytest.fixture
def device(tmp_path: Path, talker: Talker) -> Iterator[UserspaceDevice]:
    with contextlib.closing(UserspaceDevice("wg0", tmp_path)) as device:
        yield device


def install(device: UserspaceDevice) -> None:
    device.apply([PeerChange(new_key())])


def test_one_connection_serves_many_calls(device: UserspaceDevice, talker: Talker) -> None:
    for _ in range(3):
        install(device)
        assert list(device.peers()) == []
    assert len(talker.connections) == 1


def test_a_connection_that_has_ended_is_not_used(device: UserspaceDevice, talker: Talker) -> None:
    install(device)
    talker.hang_up()
    install(device)
    assert len(talker.connections) == 2


def test_a_connection_is_not_kept_with_an_answer_that_was_not_read_to_its_end(
    device: UserspaceDevice, talker: Talker
) -> None:
    talker.reply = ANSWER.encode()
    with pytest.raises(NoSuchDevice, match="no interface of that name"):
        device.info()  # which reads no peers
    assert list(device.peers()) == PEERS
    assert len(talker.connections) == 2


def test_a_connection_that_speaks_out_of_turn_is_not_used(device: UserspaceDevice, talker: Talker) -> None:
    install(device)
    talker.connections[0].sendall(b"errno=5\n\n")
    install(device)
    assert len(talker.connections) == 2


def test_a_connection_is_not_kept_after_an_error(device: UserspaceDevice, talker: Talker) -> None:
    talker.reply = b"errno=5\n\n"
    with pytest.raises(DeviceError, match="Input/output error"):
        install(device)
    talker.reply = b"errno=0\n\n"
    install(device)
    assert len(talker.connections) == 2


def test_calls_at_the_same_time_have_a_connection_each(device: UserspaceDevice, talker: Talker) -> None:
    talker.reply = b""
    peers: list[DevicePeer] = []
    reading = threading.Thread(target=lambda: peers.extend(device.peers()))
    reading.start()
    connection = talker.answered.get(timeout=30)
    talker.reply = b"errno=0\n\n"
    install(device)
    connection.sendall(ANSWER.encode())
    reading.join()
    assert peers == PEERS
    assert len(talker.connections) == 2


def test_the_rest_of_a_dump_is_in_memory_once_there_is_a_first(device: UserspaceDevice, talker: Talker) -> None:
    talker.reply = ANSWER.encode()
    peers = device.peers()
    first = next(peers)
    talker.close()
    assert [first, *peers] == PEERS


def test_after_close_a_call_connects_anew(device: UserspaceDevice, talker: Talker) -> None:
    install(device)
    device.close()
    install(device)
    assert len(talker.connections) == 2
