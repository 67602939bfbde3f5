"""What this kernel can really do, tried out in a network namespace of its own: `python -m wgjit.drivers.trial`.

A process of its own, since a namespace entered by a thread of ours would stay ours. It prints one JSON object, trial
by trial [ok, detail], and takes the namespace with it when it ends. On the host nothing changes but kernel modules
that get loaded.
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
import sys
from collections.abc import Callable
from typing import Literal

from wgjit.drivers.base import Captured
from wgjit.drivers.capture_nfqueue import NfqueueCapture
from wgjit.drivers.capture_packet import PacketCapture
from wgjit.drivers.inject import ReplayInjector
from wgjit.drivers.xdp import LiveFrames
from wgjit.errors import WgjitError
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.packets import build

_CLONE_NEWNET = 0x40000000
_SIOCSIFADDR, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x8914, 1
_PATIENCE = 1.0  # seconds for a packet on loopback, on a machine that may be busy

# lo gets an address of TEST-NET-1 (RFC 5737): from one that is not local a packet passes as a stranger's, as it must
_GATEWAY = {4: "192.0.2.1", 6: "::1"}
_STRANGER = {4: "198.51.100.1", 6: "2001:db8::1"}
_PORT = 51820
_KNOCK = b"\x01" + bytes(147)  # the size and type of an initiation


class _Trial(Exception):
    """A trial failed; the text says how."""


def nft_queue() -> str:
    """Hold and release a packet by nft rules."""
    return _hold("nft")


def xt_queue() -> str:
    """Hold and release a packet by iptables rules."""
    return _hold("xt")


def packet_capture() -> str:
    """Take a copy of a packet."""
    capture = PacketCapture(_PORT)
    with contextlib.closing(capture), _listener(4) as listener:
        listener.sendto(_KNOCK, (_GATEWAY[4], _PORT))
        if not _readable(capture) or not capture.read():
            raise _Trial("the packet socket saw no packet")
    return "packet socket with filter"


def raw_replay_ipv4() -> str:
    """Put a stranger's IPv4 packet back by raw socket."""
    return _replay_raw(4)


def raw_replay_ipv6() -> str:
    """Put a stranger's IPv6 packet back by raw socket."""
    return _replay_raw(6)


def xdp_replay() -> str:
    """Receive a stranger's packet as a live XDP frame; on lo, since an Ethernet interface would have to be made."""
    frames = LiveFrames()
    with contextlib.closing(frames), _listener(4) as listener:
        frames.send(_packet(4), socket.if_nametoindex("lo"))
        _expect(listener, "the live frame did not arrive")
    return "live frames"


_TRIALS: tuple[Callable[[], str], ...] = (
    nft_queue,
    xt_queue,
    packet_capture,
    raw_replay_ipv4,
    raw_replay_ipv6,
    xdp_replay,
)


def _hold(backend: Literal["nft", "xt"]) -> str:
    capture = NfqueueCapture("trial", _PORT, backend=backend)
    with contextlib.closing(capture):
        for version in _versions():
            with _listener(version) as listener:
                listener.sendto(_KNOCK, (_GATEWAY[version], _PORT))
                if not _readable(capture):
                    raise _Trial(f"the queue held no IPv{version} packet")
                for packet in capture.read():
                    assert packet.token is not None
                    capture.release(packet.token)
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


def _readable(capture: NfqueueCapture | PacketCapture) -> bool:
    return bool(select.select([capture], [], [], _PATIENCE)[0])


def _enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(_GATEWAY[4]))
        fcntl.ioctl(sock, _SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", address))
    for scope in ("all", "lo"):  # a stranger has no route back from here
        with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter", "w") as setting:
            setting.write("0")


def main() -> None:
    """Run every trial and print what came of it; exit status 2 if no namespace can be made."""
    try:
        _enter_namespace()
    except OSError as error:
        print(f"a network namespace to try things in cannot be made: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    results: dict[str, tuple[bool, str]] = {}
    for trial in _TRIALS:
        try:
            results[trial.__name__] = True, trial()
        except (WgjitError, OSError, _Trial) as error:
            results[trial.__name__] = False, str(error)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
