"""KernelRoutes: our routes in the kernel, by rtnetlink.

Three sockets: one for changes, one for news, and one for each dump. Changes of one call go to the kernel in one
datagram of many messages: the kernel works them off before `send` returns, and answers the failed ones and the last.
A socket belongs to the network namespace of the thread that opened it, a dump's to that of the caller of `dump`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from itertools import islice

from wgjit.drivers.base import Route, RouteChange, RouteNews
from wgjit.drivers.netlink.codec import NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, Message, decode_verdict, encode_message
from wgjit.drivers.netlink.route import NETLINK_ROUTE
from wgjit.drivers.netlink.socket import NetlinkSocket
from wgjit.drivers.packet_socket import attach_filter, grow_buffer
from wgjit.drivers.routes.messages import (
    GROUPS,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Kind,
    indexed,
    is_up,
    messages,
    news_filter,
)
from wgjit.errors import MalformedAnswer, RouteError

TOGETHER = 256
"""Most changes in a datagram: 18 KiB, and so many answers at most fit in the socket's buffer."""

BUFFER = 4 * 1024 * 1024
"""Bytes of news that may wait: some 5,000 routes. If more are flushed at once, a dump tells."""

_SOL_NETLINK, _ADD_MEMBERSHIP, _STRICT = 270, 1, 12
_RECEIVE = 64 * 1024
_PART = 8 * 1024  # of a dump: the kernel gives no more at once, some 130 routes, so that packets can come between
_AT_ONCE = 64  # datagrams of news in one `read`
_GONE = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT})
"""What the kernel says of a route that is not there, of an interface that is gone, of a table that has no routes."""

_MEANINGS = {
    errno.EEXIST: "another program has a route for it with the same metric; remove that, or change its metric",
    errno.ENETDOWN: "the interface is down; set it up",
    errno.ENODEV: "the interface is gone",
    errno.EPERM: "not permitted; run as root or with CAP_NET_ADMIN",
    errno.EACCES: "IPv6 is off on the interface; set net.ipv6.conf.INTERFACE.disable_ipv6 to 0",
    errno.ENOMEM: "the kernel is out of memory for routes",
    errno.ENOBUFS: "the kernel is out of memory for answers",
    errno.EAGAIN: "the kernel gave no answer in time",
}


class KernelRoutes:
    """The routes of one interface, table and protocol; implements `Routes`. Opening raises RouteError."""

    def __init__(self, ifindex: int, table: int, protocol: int) -> None:
        self._kind = Kind(ifindex, table, protocol)
        self._up: bool | None = None
        self._overrun = False
        """News was lost, and what is left of it has to be read before a dump."""
        try:
            self._changes = _Batches(self._kind)
            try:
                self._news = _open_news(self._kind, self._changes.port)
            except OSError:
                self._changes.close()
                raise
        except OSError as error:
            raise _error(error, "routes") from None

    # --- changes --------------------------------------------------------------------------------------------

    def apply(self, changes: Sequence[RouteChange]) -> dict[RouteChange, RouteError]:
        failed: dict[RouteChange, RouteError] = {}
        rest = iter(changes)
        while batch := list(islice(rest, TOGETHER)):
            try:
                for change, error in self._changes.make(batch).items():
                    if (verdict := self._judge(change, error)) is not None:
                        failed[change] = verdict
            except OSError as error:  # what was made of it is not known
                failed.update((change, _error(error, f"route {change.route}")) for change in batch)
        return failed

    def _judge(self, change: RouteChange, error: OSError) -> RouteError | None:
        if not change.put and error.errno in _GONE:
            return None
        if change.put and error.errno == errno.EEXIST:
            # Ours or another's? Only ours goes by this: taking away compares the protocol and the interface, too.
            taken = self._changes.make([RouteChange(change.route, put=False)])
            if taken:
                return _error(error, f"route {change.route}")
            again = self._changes.make([change])
            return _error(again[change], f"route {change.route}") if again else None
        return _error(error, f"route {change.route}")

    # --- looking --------------------------------------------------------------------------------------------

    def dump(self) -> Iterator[list[Route]]:
        try:
            with _Dump() as netlink:
                for family in (socket.AF_INET, socket.AF_INET6):
                    for part in netlink.parts(self._kind.dump_request(family)):
                        yield [route for message in part if (route := self._kind.decode(message)) is not None]
        except MalformedAnswer as error:
            raise RouteError(str(error)) from None
        except OSError as error:
            raise _error(error, "routes cannot be read") from None

    def fileno(self) -> int:
        return self._news.fileno()

    def read(self) -> RouteNews:
        lost: list[Route] = []
        unsure = False
        for _ in range(_AT_ONCE):
            try:
                data, (sender, _groups) = self._news.recvfrom(_RECEIVE)
            except BlockingIOError:
                unsure |= self._overrun
                self._overrun = False
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _error(error, "news of routes") from None
                # Some was lost, and until all is read the kernel does not tell if more is. So a dump has to wait for
                # that, and it tells all that is read until then.
                self._overrun, self._up = True, None
                continue
            if sender == 0 and not self._overrun:
                unsure |= self._take_in(data, lost)
        return RouteNews(lost, unsure)

    def _take_in(self, data: bytes, lost: list[Route]) -> bool:
        """Add the routes that are lost by this datagram. Returns whether more may be."""
        unsure = False
        try:
            for message in messages(data):
                if message.kind in (RTM_NEWLINK, RTM_DELLINK):
                    if indexed(message) == self._kind.ifindex and (up := is_up(message)) != self._up:
                        self._up, unsure = up, True
                elif message.kind in (RTM_NEWADDR, RTM_DELADDR):
                    unsure |= indexed(message) == self._kind.ifindex
                elif (route := self._kind.decode(message, of_others=message.kind == RTM_NEWROUTE)) is not None:
                    lost.append(route)
        except MalformedAnswer:
            return True
        return unsure

    def close(self) -> None:
        self._changes.close()
        self._news.close()


class _Batches(NetlinkSocket):
    """Changes, many in a datagram."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(NETLINK_ROUTE)
        self._kind = kind
        grow_buffer(self._socket, BUFFER)
        self.port: int = self._socket.getsockname()[0]
        """The netlink port, by which others know who has changed a route."""

    def make(self, changes: Sequence[RouteChange]) -> dict[RouteChange, OSError]:
        """Make these changes; return those that the kernel refused. Raises OSError if its answers are lost."""
        if not changes:
            return {}
        first = self._sequence + 1 & 0xFFFFFFFF
        numbers = {first + step & 0xFFFFFFFF: change for step, change in enumerate(changes)}
        self._sequence = last = first + len(changes) - 1 & 0xFFFFFFFF
        self._socket.send(
            b"".join(
                self._kind.encode(change.route, number, put=change.put, last=number == last)
                for number, change in numbers.items()
            )
        )
        refused: dict[RouteChange, OSError] = {}
        while True:
            for message in messages(self._receive_data()):
                change = numbers.get(message.sequence)
                if change is None or message.kind != NLMSG_ERROR:
                    continue  # a late answer to an earlier request
                number, text = decode_verdict(message)
                if number:
                    refused[change] = OSError(number, text)
                if message.sequence == last:
                    return refused


class _Dump(NetlinkSocket):
    """One dump. Kernels that know strict checking filter routes themselves; from others all routes come."""

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE)
        with contextlib.suppress(OSError):  # before Linux 4.20
            self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)

    def parts(self, body: bytes) -> Iterator[list[Message]]:
        """The messages of a dump, one list for each datagram. Raises OSError."""
        self._sequence += 1
        self._socket.send(encode_message(RTM_GETROUTE, NLM_F_DUMP, self._sequence, body))
        while True:
            part: list[Message] = []
            for message in self._ours(self._socket.recv(_PART)):
                if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                    number, text = decode_verdict(message)
                    if number and number not in _GONE:
                        raise OSError(number, text)
                    yield part
                    return
                part.append(message)
            yield part


def _open_news(kind: Kind, port: int) -> socket.socket:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE)
    try:
        attach_filter(news, news_filter(kind, port))
        grow_buffer(news, BUFFER)
        news.bind((0, 0))
        for group in GROUPS:
            news.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except OSError:
        news.close()
        raise
    return news


def _error(error: OSError, what: str) -> RouteError:
    number = error.errno or errno.EIO
    text = _MEANINGS.get(number) or os.strerror(number)
    detail = error.strerror if error.strerror and error.strerror != os.strerror(number) else ""
    return RouteError(f"{what}: {text}" + (f" ({detail})" if detail else ""))
