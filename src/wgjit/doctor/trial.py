"""Tries out what this kernel can do, in a network namespace of its own: `python -m wgjit.doctor.trial`.

The trials run in a separate process, since a thread that enters a namespace stays in it. The process prints one JSON
object with [ok, detail] per trial, and the namespace ends with it. On the host nothing changes, except that kernel
modules may be loaded.

If no namespace can be made (a container without CAP_SYS_ADMIN), only trials that change nothing run, in place: they
make and close sockets and programs, and send no packet. A trial that cannot run so has ok null.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Literal

from wgjit.drivers.base import Capture, Captured, Route, RouteChange
from wgjit.drivers.capture import queue_messages as nfqueue
from wgjit.drivers.capture.packet import PacketCapture
from wgjit.drivers.capture.queue import NfqueueCapture
from wgjit.drivers.capture.rules import run
from wgjit.drivers.confirm.packets import PacketConfirmations
from wgjit.drivers.netlink.netfilter import NetfilterSocket
from wgjit.drivers.replay.inject import ReplayInjector
from wgjit.drivers.replay.xdp import LiveFrames
from wgjit.drivers.routes.kernel import KernelRoutes
from wgjit.errors import WgjitError
from wgjit.model import PublicKey, parse_allowed_ip
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.packets import build

_CLONE_NEWNET = 0x40000000
_SIOCSIFADDR, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x8914, 1
_PATIENCE = 1.0  # seconds for a packet on loopback, on a machine that may be busy

# lo gets an address of TEST-NET-1 (RFC 5737). The replayed packets come from an address that is not local, as a
# client's do.
_GATEWAY = {4: "192.0.2.1", 6: "::1"}
_STRANGER = {4: "198.51.100.1", 6: "2001:db8::1"}
_PORT = 51820
_TABLE, _PROTOCOL = 254, 87  # the namespace's own main table
_KNOCK = b"\x01" + bytes(147)  # the size and type of an initiation


class _Trial(Exception):
    """A trial has failed. The text says how."""


def nft_queue() -> str:
    """Hold and release a packet by nft rules."""
    return _hold("nft")


def xt_queue() -> str:
    """Hold and release a packet by iptables rules."""
    return _hold("xt")


def packet_capture() -> str:
    """Capture a copy of a packet."""
    capture = PacketCapture(_PORT)
    with contextlib.closing(capture), _listener(4) as listener:
        listener.sendto(_KNOCK, (_GATEWAY[4], _PORT))
        if not _next(capture):
            raise _Trial("the packet socket saw no packet")
    return "packet socket with filter"


def xdp_replay() -> str:
    """Receive a client's packet as a live XDP frame, on lo, since the namespace has no Ethernet interface."""
    frames = LiveFrames()
    with contextlib.closing(frames), _listener(4) as listener:
        frames.send(_packet(4), socket.if_nametoindex("lo"))
        _expect(listener, "the live frame did not arrive")
    return "live frames"


def _hold(backend: Literal["nft", "xt"]) -> str:
    capture = NfqueueCapture("trial", _PORT, backend=backend)
    with contextlib.closing(capture):
        for version in _versions():
            with _listener(version) as listener:
                listener.sendto(_KNOCK, (_GATEWAY[version], _PORT))
                packet = _next(capture)
                if packet is None or packet.token is None:
                    raise _Trial(f"the queue held no IPv{version} packet")
                capture.release(packet.token)
                capture.flush()
                _expect(listener, f"a released IPv{version} packet did not go on")
    return "held and released " + " and ".join(f"IPv{version}" for version in _versions())


def _replay_raw(version: int) -> str:
    if version not in _versions():
        raise _Trial("this kernel has no IPv6, or it is switched off")
    injector = ReplayInjector(live_frames=False)
    with contextlib.closing(injector), _listener(version) as listener:
        injector.inject(Captured(_packet(version), 0, None, False))
        _expect(listener, "the raw packet did not arrive")
    return "raw socket"


def confirmations() -> str:
    """Notice a packet from a watched address, on lo in place of a WireGuard interface."""
    key, noticed = PublicKey(bytes(32)), PacketConfirmations("lo")
    with contextlib.closing(noticed), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        noticed.watch(key, [parse_allowed_ip(_GATEWAY[4])])
        noticed.flush()
        sender.sendto(b"data", (_GATEWAY[4], _PORT))
        if not select.select([noticed], [], [], _PATIENCE)[0] or noticed.read() != [key]:
            raise _Trial("the packet socket saw no packet from a watched address")
    return "packet socket with filter over inner addresses"


def routes() -> str:
    """Put a route in and take it away, into lo in place of a WireGuard interface."""
    ours = KernelRoutes(socket.if_nametoindex("lo"), _TABLE, _PROTOCOL)
    with contextlib.closing(ours):
        wanted = [
            Route(socket.inet_pton(_family(version), _STRANGER[version]), {4: 32, 6: 128}[version], 1)
            for version in _versions()
        ]
        for put in (True, False):
            for error in ours.apply([RouteChange(route, put) for route in wanted]).values():
                raise error
            if sorted(route for part in ours.dump() for route in part) != (sorted(wanted) if put else []):
                raise _Trial("the kernel does not have the routes that it has accepted")
    return "put in and taken away: " + " and ".join(f"IPv{version}" for version in _versions())


def _packet(version: int) -> bytes:
    source, destination = (
        Endpoint(socket.inet_pton(_family(version), address), _PORT)
        for address in (_STRANGER[version], _GATEWAY[version])
    )
    return build(source, destination, _KNOCK)


def _versions() -> list[int]:
    try:
        with open("/proc/self/net/if_inet6") as addresses:
            return [4, 6] if addresses.read() else [4]
    except FileNotFoundError:
        return [4]


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _listener(version: int) -> socket.socket:
    sock = socket.socket(_family(version), socket.SOCK_DGRAM)
    sock.bind((_GATEWAY[version], _PORT))
    sock.settimeout(_PATIENCE)
    return sock


def _expect(listener: socket.socket, failure: str) -> None:
    try:
        listener.recv(2048)
    except TimeoutError:
        raise _Trial(failure) from None


def _next(capture: Capture) -> Captured | None:
    """The next packet; None if none comes in time. A readable capture may only have an answer of the kernel."""
    while select.select([capture], [], [], _PATIENCE)[0]:
        if packets := capture.read(limit=1):
            return packets[0]
    return None


def _enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(_GATEWAY[4]))
        fcntl.ioctl(sock, _SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", address))
    for scope in ("all", "lo"):  # the namespace has no route back to a client
        with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter", "w") as setting:
            setting.write("0")


# --- in place: nothing that another program could notice ----------------------------------------------------------


def nft_queue_in_place() -> str:
    """Bind a queue, and let the kernel check a rule in a table that the same transaction deletes."""
    netfilter = NetfilterSocket()
    with contextlib.closing(netfilter):
        netfilter.request(nfqueue.configure(_UNUSED_QUEUE, command=(nfqueue.Command.BIND, 0)))
        run("nft", "-f", "-", stdin=_UNUSED_TABLE)
    return "rules and queue can be set up; no packet was tried"


def packet_capture_in_place() -> str:
    """Open and close the packet sockets."""
    PacketCapture(_PORT).close()
    return "packet socket with filter; no packet was tried"


def confirmations_in_place() -> str:
    """Open and close the packet sockets on lo."""
    PacketConfirmations("lo").close()
    return "packet socket with filter over inner addresses; no packet was tried"


def xdp_replay_in_place() -> str:
    """Load the XDP program."""
    LiveFrames().close()
    return "the program loads; no packet was tried"


def _raw_in_place(version: int) -> str:
    socket.socket(_family(version), socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    return "raw socket; no packet was tried"


_UNUSED_QUEUE = 65535
_UNUSED_TABLE = f"""\
table inet wgjit_trial {{ chain unused {{ queue flags bypass to {_UNUSED_QUEUE}; }}; }}
delete table inet wgjit_trial
"""

_TRIALS: dict[str, tuple[Callable[[], str], Callable[[], str] | None]] = {
    "nft_queue": (nft_queue, nft_queue_in_place),
    "xt_queue": (xt_queue, None),
    "packet_capture": (packet_capture, packet_capture_in_place),
    "raw_replay_ipv4": (lambda: _replay_raw(4), lambda: _raw_in_place(4)),
    "raw_replay_ipv6": (lambda: _replay_raw(6), lambda: _raw_in_place(6)),
    "xdp_replay": (xdp_replay, xdp_replay_in_place),
    "confirmations": (confirmations, confirmations_in_place),
    "routes": (routes, None),
}
"""By the names of `probe.Fact`: the trial, and the one that replaces it if no namespace can be made."""


def main() -> None:
    """Run every trial and print the results."""
    try:
        _enter_namespace()
        in_place = False
    except OSError:
        in_place = True
    results: dict[str, tuple[bool | None, str]] = {}
    for name, (whole, gentle) in _TRIALS.items():
        trial = gentle if in_place else whole
        if trial is None:
            results[name] = None, "not tried: no network namespace can be made here"
            continue
        try:
            results[name] = True, trial()
        except (WgjitError, _Trial) as error:
            results[name] = False, str(error)
        except OSError as error:
            results[name] = False, error.strerror or str(error)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
