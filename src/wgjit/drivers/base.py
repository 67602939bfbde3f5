"""What the daemon needs of the kernel's edges: a device, a capture, an injector.

All calls are synchronous and short; `peers` of a crowded device may take seconds and belongs on a thread.
Errno is translated to `wgjit.errors` here, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from wgjit.model import DeviceInfo, DevicePeer, PeerChange


class Device(Protocol):
    """A WireGuard interface. Raises NoSuchDevice, NotPermitted, DeviceFull, DeviceError."""

    name: str

    def info(self) -> DeviceInfo:
        """Keys and port, read without its peers where the interface's protocol allows it."""

    def peers(self, *, partial: bool = False) -> Iterator[DevicePeer]:
        """All residents, each once, streamed as they are decoded. Safe on a thread of its own.

        Once the first is given, the rest is in memory: only decoding is left, and nothing is waited for.

        Each is whole; with `partial` a few may not be (`is_whole`), of which something was changed or lost while they
        were read. For that, no reading is thrown away: of a crowd on a busy interface none is undisturbed.
        """

    def apply(self, changes: Sequence[PeerChange]) -> None:
        """Make changes in order, in as few messages as fit.

        Raises DeviceError; what came before the failing change is then in force, as in the kernel.
        """

    def set_interface(self, private_key: bytes | None = None, listen_port: int | None = None) -> None:
        """Set the interface's own key (32 raw bytes) or port; None leaves it."""

    def close(self) -> None:
        """Let go of sockets; the interface and its sessions stay."""


class Captured(NamedTuple):
    """One packet that asked for the WireGuard port."""

    packet: bytes
    """From the IP header on."""
    ifindex: int
    """The interface that it came in by; 0 if unknown."""
    token: int | None = None
    """Held packets: what `release` takes. None: a copy, the kernel has long had the packet itself."""
    ethernet: bool = True
    """The ingress interface speaks Ethernet, so that a frame can be put back on it."""


class CaptureCounters(NamedTuple):
    """Since the capture was opened."""

    received: int
    dropped: int
    """Lost between kernel and us: a full socket or queue. Held packets passed on unseen (fail-open) count too."""


class Capture(Protocol):
    """A source of captured packets. Raises CaptureError."""

    holds: bool
    """True: each packet waits in the kernel until `release`d."""

    def fileno(self) -> int:
        """Readable when packets wait."""

    def read(self, limit: int = 64) -> list[Captured]:
        """Up to `limit` packets that wait now; never blocks; survives ENOBUFS (counted as dropped)."""

    def release(self, token: int) -> None:
        """Let a held packet go on to the kernel as it is. Every token is released once, in any order.

        It goes on with the next `flush`, so that many share a call.
        """

    def flush(self) -> None:
        """Send on all that was released, now; call before anything that takes time. No-op if nothing was.

        What the kernel could not take stays released: the next flush or heartbeat sends it on.
        """

    def heartbeat(self) -> None:
        """Tell the kernel that we are alive, and flush; call every second. No-op for a capture that does not hold."""

    def counters(self) -> CaptureCounters:
        """What came and what was lost."""

    def close(self) -> None:
        """Stop capturing, take back rules and sockets; held packets go on."""


class Injector(Protocol):
    """Puts a captured packet back into the kernel. Raises InjectError."""

    def inject(self, captured: Captured) -> str:
        """Replay it; gives the way it took: "xdp" or "raw"."""

    def close(self) -> None:
        """Let go of descriptors."""
