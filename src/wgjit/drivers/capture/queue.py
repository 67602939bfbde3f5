"""Capture by NFQUEUE: each knock waits in the kernel until it is `release`d and its verdict is `flush`ed.

The packet then goes on unchanged. It keeps its ingress interface and local address, so WireGuard answers from the
address that the client used. The verdict is always accept, so that the kernel's own defence under load (cookies) sees
the same load as without wgjit.

Failures let packets pass. A full queue or socket passes packets on unseen. The rules of a dead process are passed over,
and those of a stuck process too after three seconds (nft only, see `rules_nft`). The one exception: when the process is
killed, the kernel drops the packets that wait, and their clients knock again after 5 s.

This needs CAP_NET_ADMIN only. It does not need the kernel's table of queues, which only root's group may read.
"""

from __future__ import annotations

import contextlib
import errno
import select
import zlib
from typing import Literal

from wgjit.drivers.base import CaptureCounters, Captured
from wgjit.drivers.capture import queue_messages as nfqueue
from wgjit.drivers.capture.datagrams import Datagrams
from wgjit.drivers.capture.queue_messages import Command, QueueStatus
from wgjit.drivers.capture.rules import QueueRules
from wgjit.drivers.capture.rules_nft import NftRules
from wgjit.drivers.capture.rules_xt import XtRules
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink.codec import NLMSG_ERROR, Message, split_messages
from wgjit.drivers.packet_socket import grow_buffer
from wgjit.errors import CaptureError, MalformedAnswer, NotPermitted, WgjitError

Backend = Literal["nft", "xt"]

_TABLE = "/proc/thread-self/net/netfilter/nfnetlink_queue"
XT_QUEUE_LENGTH = 2048
"""Packets that wait at most with iptables' rules. Without a dead-man switch, a stuck process holds up to this many."""

_FIRST_QUEUE, _QUEUES, _TRIES = 20000, 40000, 64
_COPY = 2048  # bytes kept of a packet; an initiation with its headers is under 256
_DATAGRAM = 4096  # a packet with its attributes
_AT_ONCE = 16  # packets read with one system call
_BUFFER = 16 << 20  # bytes, taken as needed: 16,000 waiting packets of up to about 1 KiB of kernel memory each
_VERDICTS = 512  # sent at once, 16 KiB: far below any socket's send buffer


class NfqueueCapture:
    """Holds the knocks for one port of this network namespace.

    With `queue` None a free number is taken. At most `max_length` packets wait, and with iptables' rules never more
    than XT_QUEUE_LENGTH; further packets pass unseen. Raises CaptureError (another program has the queue, there is no
    firewall program, the kernel lacks a part), NotPermitted (CAP_NET_ADMIN).
    """

    holds = True

    def __init__(
        self,
        interface: str,
        port: int,
        queue: int | None = None,
        backend: Backend = "nft",
        max_length: int = 1024,
        louder: float = 1.0,
    ) -> None:
        """`louder`: what a source may send, as a multiple of the default. With nft, what is beyond passes unseen."""
        self._netfilter = nfnetlink.NetfilterSocket()
        self._datagrams = Datagrams(_AT_ONCE, _DATAGRAM)
        self._waiting: set[int] = set()
        self._verdicts: list[int] = []  # released, but not flushed yet
        self._last_id = self._received = self._missed = self._unseen = 0
        self._closed = False
        self._rules: QueueRules | None = None
        self._bound = False
        try:
            self.queue = self._bind(interface) if queue is None else self._take(queue)
            self._bound = True
            grow_buffer(self._netfilter.socket, _BUFFER)
            self._configure(max_length if backend == "nft" else min(max_length, XT_QUEUE_LENGTH))
            self._rules = (
                NftRules(interface, port, self.queue, louder)
                if backend == "nft"
                else XtRules(interface, port, self.queue)
            )
            self._rules.install()
        except BaseException:
            with contextlib.suppress(WgjitError):  # the caller must get the first error
                self.close()
            raise

    # --- setting up ---------------------------------------------------------------------------------------------

    def _bind(self, interface: str) -> int:
        """Take the first free queue number, from a number on that is derived from the interface's name."""
        first = zlib.crc32(interface.encode())
        for step in range(_TRIES):
            number = _FIRST_QUEUE + (first + step) % _QUEUES
            try:
                return self._take(number)
            except (CaptureError, NotPermitted):  # the kernel says EPERM for another program's queue, too
                if step == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _take(self, number: int) -> int:
        try:
            self._netfilter.request(nfqueue.configure(number, command=(Command.BIND, 0)))
        except PermissionError as error:  # another program's queue, or no right to any queue
            owner = next((status.owner for status in _statuses() if status.number == number), None)
            if owner is None:
                raise nfnetlink.refused("nfnetlink_queue", error) from error
            raise CaptureError(f"queue {number}: held by another program (netlink port {owner})") from None
        except OSError as error:
            raise nfnetlink.refused(f"queue {number}", error, "the kernel needs nfnetlink_queue") from error
        return number

    def _configure(self, max_length: int) -> None:
        settings = (
            nfqueue.configure(self.queue, params=(_COPY, nfqueue.COPY_PACKET)),
            nfqueue.configure(self.queue, max_length=max_length),
            nfqueue.configure(self.queue, mask=nfqueue.FAIL_OPEN, flags=nfqueue.FAIL_OPEN),
        )
        try:
            self._netfilter.request(*settings)
        except OSError as error:
            raise nfnetlink.refused(f"queue {self.queue}", error) from error
        # Rules of a dead process may have sent packets already, and the requests above have skipped these packets.
        self._release_all()

    # --- at work ------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable when packets wait."""
        return self._netfilter.socket.fileno()

    def read(self, limit: int = 64) -> list[Captured]:
        """Up to `limit` packets that wait now, each to be released by its token. Never blocks."""
        packets: list[Captured] = []
        more = True
        while more and len(packets) < limit:
            wanted = min(limit - len(packets), _AT_ONCE)
            try:
                datagrams = self._netfilter.receive_all(self._datagrams, wanted)
                more = len(datagrams) == wanted  # fewer: no more packets wait, so do not ask again
                for datagram in datagrams:
                    for message in split_messages(datagram):
                        # The kernel answers a verdict with ENOENT if the packet's interface was removed, and the packet
                        # with it.
                        if message.kind != NLMSG_ERROR:
                            packets.append(self._captured(message))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise nfnetlink.refused(f"queue {self.queue}", error) from error
                # The socket was full. `counters` tells how many packets passed unseen. More packets may wait after the
                # error.
            except MalformedAnswer as error:
                raise CaptureError(f"queue {self.queue}: {error}") from error
        return packets

    def _captured(self, message: Message) -> Captured:
        identity, packet, ifindex, ethernet = nfqueue.held(message)
        if self._received:
            self._missed += (identity - self._last_id - 1) & 0xFFFFFFFF
        self._last_id = identity
        self._received += 1
        self._waiting.add(identity)
        return Captured(packet, ifindex, identity, ethernet)

    def release(self, token: int) -> None:
        """Let a held packet go on. Raises CaptureError for a token that is not held."""
        try:
            self._waiting.remove(token)
        except KeyError:
            raise CaptureError(f"release: packet {token} is not held (any more)") from None
        self._verdicts.append(token)

    def flush(self) -> None:
        """Send the verdicts of all released packets as one datagram. The kernel handles each verdict by itself.

        Raises CaptureError, NotPermitted. Verdicts that were not sent wait for the next flush or heartbeat.
        """
        while self._verdicts:
            verdicts = self._verdicts[:_VERDICTS]
            try:
                self._netfilter.send_prepared(nfqueue.accept_each(self.queue, verdicts))
            except OSError as error:
                raise nfnetlink.refused(f"queue {self.queue}: verdicts", error, "they are sent again") from error
            del self._verdicts[:_VERDICTS]

    def heartbeat(self) -> bool:
        """Keep the rules in force for another three seconds (nft), and flush what an earlier flush could not.

        Returns True if the rules were gone and were put back.
        """
        try:
            self.flush()
        finally:
            put_back = self._rules is not None and self._rules.heartbeat()
        return put_back

    def counters(self) -> CaptureCounters:
        """The received packets, and the packets that passed unseen because the queue or the socket was full.

        With backend xt this runs iptables, which takes some milliseconds.
        """
        if self._rules:
            # A full queue shows in no packet's id, but in the number of packets that the rules sent. That number is
            # read first, and is used only if no packet waits to be read: a packet on its way to wgjit has not passed
            # unseen.
            asked = self._rules.asked()
            if not select.select([self._netfilter.socket], [], [], 0)[0]:
                self._unseen = max(self._unseen, asked - self._rules.beyond() - self._received)
        beyond = 0 if self._rules is None else self._rules.beyond()
        return CaptureCounters(self._received, max(self._unseen, self._missed), beyond)

    def close(self) -> None:
        """Remove the rules, let all waiting packets go on, and give up the queue."""
        if self._closed:
            return
        self._closed = True
        with contextlib.ExitStack() as steps:  # each step runs, even if another fails; last in, first out
            steps.callback(self._netfilter.close)
            if self._rules:
                steps.callback(self._rules.remove)
            if self._bound:
                steps.callback(self._release_all)
            if self._rules:
                steps.callback(self._rules.disarm)

    def _release_all(self) -> None:
        """Let all waiting packets go on, also unread ones. Packets that the request skips were released, too."""
        # The kernel compares ids as signed differences. This id is far above the newest, and far from wrapping to the
        # oldest.
        try:
            self._netfilter.request(nfqueue.accept_up_to(self.queue, (self._last_id + (1 << 30)) & 0xFFFFFFFF))
        except FileNotFoundError:
            pass  # nothing waits
        except OSError as error:
            raise nfnetlink.refused(f"queue {self.queue}: verdict", error) from error
        self._waiting.clear()
        self._verdicts.clear()


def _statuses() -> list[QueueStatus]:
    try:
        with open(_TABLE) as table:
            return list(nfqueue.statuses(table.read()))
    except (FileNotFoundError, PermissionError):
        return []
