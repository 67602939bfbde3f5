"""The start bench's own judgement, and its impatient client."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bench.knocker import Knocker
from bench.load.client import Identity
from bench.load.responder import answer
from bench.processes import kernel_memory
from bench.start import Plain, Size, Started, main, missed, plain_rows, wgjit_rows, write_peers
from wgjit.management.peer_readers import Format
from wgjit.model import PrivateKey

MIB = 1 << 20


def size(peers: int, *answered: float) -> Size:
    return Size(peers, starts=[Started(value - 0.1, value, MIB, 2 * MIB, 3 * MIB, 0.01) for value in answered])


def test_a_start_that_does_not_depend_on_the_number_reaches_all_goals() -> None:
    assert missed([size(1_000, 0.5, 0.6, 0.7), size(100_000, 0.5, 0.62, 3.0)]) == []


def test_a_start_that_does_is_told() -> None:
    told = missed([size(1_000, 0.4), size(100_000, 0.6)])
    assert told == [
        "ready: 0.50 s with 100,000 peers, limit 0.41 s",
        "first handshake: 0.60 s with 100,000 peers, limit 0.53 s",
    ]


def test_a_late_first_handshake_is_told_whatever_the_number() -> None:
    told = missed([size(1_000, 1.2), size(10_000, 0.9), size(100_000, 0.9)])
    assert told == ["first handshake: 1.20 s with 1,000 peers, limit 1 s"]


def test_rows() -> None:
    one = size(1_000, 0.5, 0.7, 0.6)
    one.plain = Plain(2.0, 0.1, 1.9, 4 * MIB, 5 * MIB, 0.3)
    assert list(wgjit_rows([one])) == [
        ("1,000", "3", "0.50", "0.60", "0.60", "0.70", "1.0", "2.0", "3.0", "0.01"),
    ]
    assert list(plain_rows([one, size(5, 1.0)])) == [("1,000", "2.00", "0.10", "1.90", "4.0", "5.0", "0.30")]


def test_the_two_clients_are_the_ends_of_the_file(tmp_path: Path) -> None:
    first, last = (Identity(PrivateKey.generate(), IPv4Address(f"10.0.0.{n}")) for n in (2, 3))
    path = tmp_path / "peers.conf"
    write_peers(path, 5, (first, last), "[Interface]\nListenPort = 1\n")
    lines = path.read_text().splitlines()
    keys = [line.removeprefix("PublicKey = ") for line in lines if line.startswith("PublicKey")]
    assert keys[0] == str(first.private_key.public())
    assert keys[-1] == str(last.private_key.public())
    assert len(set(keys)) == 5
    assert [line for line in lines if line.startswith("AllowedIPs")][-1] == "AllowedIPs = 10.0.0.6/32"
    assert Format("conf") is Format.CONF, "the word that the bench gives `wgjit peer import`"


def test_two_sizes_at_least() -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--peers", "1000"])
    assert raised.value.code == 2


def test_kernel_memory() -> None:
    text = "MemTotal:  100 kB\nMemAvailable:   50 kB\nSUnreclaim:  7 kB\nPercpu:   3 kB\nHugePages_Total:   0\n"
    assert kernel_memory(text) == (10 << 10, 50 << 10)


def test_a_knocker_is_answered_by_who_has_the_gateways_key_alone() -> None:
    gateway, client = PrivateKey.generate(), PrivateKey.generate()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60.0)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        identity = Identity(client, IPv4Address("10.0.0.2"))
        with Knocker(sock, server.getsockname(), gateway.public(), identity) as knocker:
            message, source = server.recvfrom(2048)
            server.sendto(bytes([2, 0, 0, 0]) + bytes(88), source)
            server.sendto(b"\2", source)
            with pytest.raises(TimeoutError, match="initiations was answered"):
                knocker.wait(0.2)
            made = answer(gateway, client.public(), None, 7, message)
            server.sendto(made.message, source)  # type: ignore[union-attr]  # an older one than the last: it counts
            assert knocker.wait(60.0) == knocker.answered
            assert knocker.knocks >= 3
