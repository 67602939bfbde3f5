"""The protocols by which the daemon reaches the kernel: Device, Capture, Injector, Confirmations and others.

All calls are synchronous and short, except `peers`: for a crowded device it may take seconds, so it runs on a thread.
The drivers turn errno into the errors of `wgjit.errors`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from wgjit.errors import RouteError
from wgjit.model import AllowedIP, DeviceInfo, DevicePeer, Endpoint, PeerChange, PublicKey


class Device(Protocol):
    """A WireGuard interface. Raises NoSuchDevice, NotPermitted, DeviceFull, DeviceError."""

    name: str

    def info(self) -> DeviceInfo:
        """Keys and port. The peers are not read if the interface's protocol allows that."""

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        """All residents, each once, as a stream. Safe on a thread of its own.

        When the first resident is returned, all others are in memory. Only decoding is left, and no call waits.

        Each resident is whole. With `partial` a few may not be (`is_whole`), if a peer was changed or removed during
        the reading. Then no reading has to be repeated: on a crowded, busy interface every reading is disturbed.
        """

    def apply(self, changes: Sequence[PeerChange]) -> None:
        """Make changes in order, in as few messages as possible.

        Raises DeviceError. The changes before the failing one are then in force, as in the kernel.
        """

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        """Set the interface's own key (32 raw bytes) or port. None leaves a setting as it is."""

    def close(self) -> None:
        """Close sockets. The interface and its sessions stay."""


class Captured(NamedTuple):
    """One packet to the WireGuard port."""

    packet: bytes
    """The packet from the IP header on."""
    ifindex: int
    """The index of the interface on which the packet arrived; 0 if unknown."""
    token: int | None = None
    """For a held packet, the argument of `release`. None for a copy: the kernel already has the packet itself."""
    ethernet: bool = True
    """Whether the ingress interface is Ethernet, so that a frame can be put back on it."""


class CaptureCounters(NamedTuple):
    """Numbers of packets since the capture was opened."""

    received: int
    dropped: int
    """Lost between kernel and wgjit: a socket or queue was full. Held packets that passed unseen (fail-open) count."""
    beyond: int = 0
    """Passed unseen on purpose: their source sent more than the rules let into the queue."""


class Capture(Protocol):
    """A source of captured packets. Raises CaptureError."""

    holds: bool
    """True if each packet waits in the kernel until it is `release`d."""

    def fileno(self) -> int:
        """A descriptor that is readable when packets wait."""

    def read(self, limit: int = 64) -> list[Captured]:
        """Up to `limit` packets that wait now. Never blocks. ENOBUFS is no error, and is counted as dropped."""

    def release(self, token: int) -> None:
        """Let a held packet go on to the kernel unchanged. Every token is released once, in any order.

        The packet goes on at the next `flush`, so that many packets share a call.
        """

    def flush(self) -> None:
        """Send all released packets on now. Call this before anything that takes time. Harmless if none was released.

        Packets that the kernel could not take stay released, and go on at the next flush or heartbeat.
        """

    def heartbeat(self) -> bool:
        """Tell the kernel that wgjit is alive, and flush. Call this every second. No-op for a capture that copies.

        Returns True if another program had taken the capture's rules away, and they were put back.
        """

    def counters(self) -> CaptureCounters:
        """The numbers of received and lost packets."""

    def close(self) -> None:
        """Stop capturing, and remove rules and sockets. Held packets go on."""


class Injector(Protocol):
    """Puts a captured packet back into the kernel. Raises InjectError."""

    def inject(self, captured: Captured) -> str:
        """Put the packet back. Returns the way that was used: "xdp" or "raw"."""

    def close(self) -> None:
        """Close descriptors."""


class ConfirmationCounters(NamedTuple):
    """Numbers since the confirmations were opened."""

    watched: int
    """Peers that are watched now."""
    reported: int
    given_up: int
    """Peers that were no longer watched because too many were watched at once. Only a look can confirm these."""
    dropped: int
    """Packets that were lost because nobody read them. The peer's next packet counts instead."""


class Confirmations(Protocol):
    """Tells when a peer's session has passed data. Raises CaptureError, NotPermitted.

    The sign is a packet from one of the peer's allowed IPs that came out of WireGuard on the interface. A client's
    keepalive is no such packet, since it never leaves WireGuard. A client that sends nothing else is confirmed by the
    device's own look alone.

    No prefix of another peer on the interface may lie inside a watched prefix: that peer's packets would confirm this
    one. Prefixes of other *watched* peers may, since the longest prefix counts.
    """

    def watch(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        """Report the peer's first packet that comes after the next `flush`, once. It is then no longer watched.

        Packets that came before do not count. So first install the peer, then watch and flush, then release its knock.
        A second call for a watched peer replaces its prefixes. Of many prefixes only the first few are watched.
        """

    def flush(self) -> None:
        """Let the kernel look for the peers that were watched since the last call. Harmless if there are none.

        After an error the peers are still to be watched, and the next call tries again.
        """

    def forget(self, key: PublicKey) -> None:
        """Do not report the peer any more. Harmless if it is not watched. This costs no system call."""

    def fileno(self) -> int:
        """A descriptor that is readable when `read` has something to do."""

    def read(self) -> list[PublicKey]:
        """The watched peers whose packets have come, each once. Never blocks. May be empty."""

    def counters(self) -> ConfirmationCounters:
        """How many peers are watched, were reported, were given up; lost packets."""

    def close(self) -> None:
        """Close sockets. Nothing is left in the kernel."""


class Route(NamedTuple):
    """A route into the WireGuard interface, of our own protocol number and in our table. Packed, since there are many.

    `address` is that of the prefix, 4 bytes or 16; `length` its bits; a smaller `metric` (1 to 2^32-1) wins.
    """

    address: bytes
    length: int
    metric: int

    def __str__(self) -> str:
        family = socket.AF_INET if len(self.address) == 4 else socket.AF_INET6
        return f"{socket.inet_ntop(family, self.address)}/{self.length} metric {self.metric}"


class RouteChange(NamedTuple):
    """A route to put in, or to take away."""

    route: Route
    put: bool


class RouteNews(NamedTuple):
    """What other programs, or the kernel, have done to our routes."""

    lost: list[Route]
    """These were taken away, or another program's may have taken their place."""
    unsure: bool
    """More may have happened, such as the interface going down, and only a dump can tell."""


class Routes(Protocol):
    """The routes into one WireGuard interface that have our protocol number, in one table. Raises RouteError.

    Other routes are never touched, not even one for the same prefix with the same metric.
    """

    def apply(self, changes: Sequence[RouteChange]) -> dict[RouteChange, RouteError]:
        """Make all changes, in this order, in as few system calls as it takes. Returns those that failed.

        To put what is there and to take what is not there is no failure. A route to be taken away whose metric is 0 is
        one with any metric. Harmless with no changes.
        """

    def dump(self) -> Iterator[list[Route]]:
        """All our routes, in parts, as one reading of the kernel after the other gives them.

        Changes may be made between two parts; these may be in the dump or not.
        """

    def fileno(self) -> int:
        """A descriptor that is readable when `read` has something to do."""

    def read(self) -> RouteNews:
        """What others have done since the last call. Never blocks. Changes by `apply` are not in it."""

    def close(self) -> None:
        """Close sockets. All routes stay, as sessions do."""


class Restraint(Protocol):
    """Keeps WireGuard from calling back clients that the network has moved to another gateway of the fleet.

    WireGuard calls a client (it sends an initiation of its own) when its data has had no answer for 15 s. If a session
    of the client's own making is up, that call and all data are held back, until the client is heard from, or for
    `restraint.nft.HELD` seconds. Then the client's own timer runs out, and it knocks at the gateway to which the
    network leads it. A call to a client without such a session is never held back.

    The kernel itself notes a session when WireGuard answers the client's initiation. `put` and `forget` are for what
    the kernel cannot see. They take effect at once. Raises CaptureError, NotPermitted.
    """

    def put(self, sessions: Mapping[Endpoint, float]) -> None:
        """Sessions are up with these endpoints, and end in so many seconds."""

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """The peers at these endpoints have left. A later call there is made on purpose."""

    def heartbeat(self) -> None:
        """Put the restraint back in force if another program has taken it away. Call this every second."""

    def held(self) -> int:
        """Number of calls that were held back since the start, as of the last heartbeat."""

    def close(self) -> None:
        """End the restraint. Nothing is left in the kernel."""


class StrayCounters(NamedTuple):
    """Numbers of a watch for strays."""

    known: int
    """Endpoints that are watched, about: one that is put in twice counts twice until the watch is filled anew."""
    seen: int
    """Strays that were reported since the start, as of the last heartbeat."""
    lost: int
    """Reports that nobody has read in time."""


class StrayWatch(Protocol):
    """Tells of transport data that comes to a service address from endpoints whose peers other gateways hold.

    The kernel looks each packet up in a set, and passes it on unchanged. It reports an endpoint once a minute, when it
    has sent as many bytes as an initiation back to it would take. So a gateway that answers a report by an initiation
    never sends more than it got. Data from other endpoints costs one lookup in the set and is never reported.

    `put`, `forget`, `clear`, `heartbeat` and `counters` may be called from any thread. Raises CaptureError,
    NotPermitted.
    """

    def put(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch these endpoints, too."""

    def put_anew(self, endpoints: Iterable[Endpoint]) -> None:
        """As `put`, for a few: their peers have just begun to be held elsewhere, so their data is news even if it was
        reported a moment ago."""

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch these endpoints no longer. Harmless if they are not watched."""

    def clear(self) -> None:
        """Watch no endpoint, before all are put in anew."""

    def fileno(self) -> int:
        """A descriptor that is readable when reports wait."""

    def read(self) -> list[tuple[Endpoint, Endpoint]]:
        """Some of the reports that wait: whence data has come, and where to. Never blocks. May be empty."""

    def heartbeat(self) -> bool:
        """Put the watch back in force if another program has taken it away. Returns True if all endpoints have to be
        put in anew. Call this every second."""

    def counters(self) -> StrayCounters:
        """How many endpoints are watched; reports."""

    def close(self) -> None:
        """End the watch. Nothing is left in the kernel."""
