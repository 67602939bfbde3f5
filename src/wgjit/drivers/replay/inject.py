"""Replay: puts a captured packet back into the kernel after its peer was installed.

| way | how the packet arrives                             | WireGuard answers from              |
| --- | -------------------------------------------------- | ----------------------------------- |
| xdp | on the Ethernet interface that it first came in by | the address that the client dialled |
| raw | on lo, from a raw socket                           | this host's primary address         |

So xdp is tried first. If it fails for an interface, that interface's packets use raw from then on. Raw has two limits:
a firewall that admits the port on one interface only drops the packet, and a client behind a stateful firewall does not
see the answer if it used another address than the primary one.
"""

from __future__ import annotations

import ipaddress
import socket

from wgjit.drivers.base import Captured
from wgjit.drivers.replay.mark import mark
from wgjit.drivers.replay.xdp import LiveFrames
from wgjit.errors import InjectError, InvalidValue
from wgjit.wire.packets import finish_checksum

_IPV6_HDRINCL = 36  # linux/in6.h


class ReplayInjector:
    """Puts packets back, IPv4 and IPv6. `live_frames` False does not use XDP. Raises InjectError."""

    def __init__(self, live_frames: bool = True) -> None:
        self._frames: LiveFrames | None = None
        self._no_frames: set[int] = set()
        self._raw: dict[int, socket.socket] = {}
        self.xdp_failure: str | None = None
        """The error of the last interface that no longer uses live frames; None if there is none."""
        if live_frames:
            try:
                self._frames = LiveFrames()
            except InjectError as error:
                self.xdp_failure = str(error)

    def inject(self, captured: Captured) -> str:
        """Replay the packet with complete checksums. Returns the way that was used: "xdp" or "raw"."""
        try:
            packet = finish_checksum(captured.packet)
        except InvalidValue as error:
            raise InjectError(f"replay: {error}") from None
        if self._frames and captured.ethernet and captured.ifindex and captured.ifindex not in self._no_frames:
            try:
                self._frames.send(packet, captured.ifindex)
                return "xdp"
            except InjectError as error:
                self._no_frames.add(captured.ifindex)
                self.xdp_failure = str(error)
        self._send_raw(mark(packet))  # the kernel computes a raw packet's IPv4 header checksum itself
        return "raw"

    def _send_raw(self, packet: bytes) -> None:
        version = packet[0] >> 4
        family, destination = (socket.AF_INET, packet[16:20]) if version == 4 else (socket.AF_INET6, packet[24:40])
        address = ipaddress.ip_address(destination)
        if address.version == 6 and address.is_link_local:
            raise InjectError(f"raw replay to {address}: the answer to a link-local address could not leave lo")
        try:
            sock = self._raw.get(version)
            if sock is None:
                sock = self._raw[version] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                if version == 6:
                    sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
            sock.sendto(packet, (str(address), 0))
        except OSError as error:
            raise InjectError(f"raw replay to {address}: {error.strerror}") from error

    def close(self) -> None:
        """Close descriptors. A second call does nothing."""
        if self._frames:
            self._frames.close()
            self._frames = None
        for sock in self._raw.values():
            sock.close()
        self._raw.clear()
