"""Many datagrams with one system call, from the real kernel: any process may talk netlink to it."""

from __future__ import annotations

import socket

import pytest

from wgjit.drivers.capture.datagrams import Datagrams
from wgjit.drivers.netlink.codec import NLM_F_ACK, NLMSG_ERROR, encode_message, split_messages

_NOOP, _USERSOCK = 1, 2  # linux/netlink.h


def test_as_many_as_wait_and_as_there_is_room_for() -> None:
    room = Datagrams(count=2, size=4096)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        with pytest.raises(BlockingIOError):
            room.receive(sock, 2)
        for sequence in (1, 2, 3, 4):
            sock.send(encode_message(_NOOP, NLM_F_ACK, sequence, b""))
        batches = [room.receive(sock, limit) for limit in (9, 1, 9)]
        answers = [[(m.kind, m.sequence) for data in batch for m in split_messages(data)] for batch in batches]
        assert answers == [[(NLMSG_ERROR, 1), (NLMSG_ERROR, 2)], [(NLMSG_ERROR, 3)], [(NLMSG_ERROR, 4)]]
        with pytest.raises(BlockingIOError):
            room.receive(sock, 2)


def test_what_another_process_sends_is_empty_and_what_is_too_long_is_cut() -> None:
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _USERSOCK) as sock,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _USERSOCK) as stranger,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route,
    ):
        sock.bind((0, 0))
        stranger.sendto(b"x" * 64, sock.getsockname())
        assert Datagrams(4, 4096).receive(sock, 4) == [b""]
        route.send(encode_message(_NOOP, NLM_F_ACK, 7, b""))
        assert len(Datagrams(1, 10).receive(route, 1)[0]) == 10


def test_a_socket_that_is_closed_is_an_error() -> None:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Datagrams(1, 10).receive(sock, 1)
