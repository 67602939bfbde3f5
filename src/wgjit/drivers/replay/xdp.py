"""Live XDP frames: a frame enters the kernel as if an Ethernet interface had just received it (Linux 5.18).

The bpf(2) command BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES runs an XDP program over a given frame, and does
with the frame what the program returns. This program returns XDP_PASS, so the frame goes up the stack from the
interface named in the context. No program is attached to any interface. Kernel: Documentation/bpf/bpf_prog_run.rst;
linux/bpf.h for the layouts.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct

from wgjit.drivers.replay.mark import SOURCE_MAC
from wgjit.errors import InjectError

_SYSCALL = {"x86_64": 321, "aarch64": 280}  # bpf(2)
_PROG_LOAD, _PROG_TEST_RUN = 5, 10
_PROG_TYPE_XDP = 6
_LIVE_FRAMES = 2
_PROGRAM = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit

_LOAD = struct.Struct("@IIQQIIQII")  # type, instructions, their address, licence, log, flags
_RUN = struct.Struct("@IIIIQQIIIIQQIIII")  # see `send`
_CONTEXT = struct.Struct("@IIIIII")  # xdp_md: data, data_end, data_meta, ingress, queue, egress

_SIOCGIFNAME, _SIOCGIFHWADDR = 0x8910, 0x8927
_IFREQ_INDEX = struct.Struct("@16si20x")
_IFREQ_ADDRESS = struct.Struct("@16sH6s16x")
_FRAMED = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK: both take Ethernet headers
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}

_libc = ctypes.CDLL(None, use_errno=True)


class LiveFrames:
    """Sends frames up the stack. Raises InjectError, also if this kernel or processor cannot do this."""

    def __init__(self) -> None:
        code, licence = ctypes.create_string_buffer(_PROGRAM), ctypes.create_string_buffer(b"GPL")
        self._interfaces = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._program = _bpf(
                _PROG_LOAD,
                _LOAD.pack(_PROG_TYPE_XDP, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0),
                "load of the XDP program",
            )
        except InjectError:
            self._interfaces.close()
            raise
        os.set_inheritable(self._program, False)

    def send(self, packet: bytes, ifindex: int) -> None:
        """Make an Ethernet interface receive an IP packet, whose checksums are complete. Raises InjectError."""
        frame = self._address(ifindex) + SOURCE_MAC + _ETHERTYPE[packet[0] >> 4] + packet
        context = _CONTEXT.pack(0, len(frame), 0, ifindex, 0, 0)
        data, ctx = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(context, len(context))
        _bpf(
            _PROG_TEST_RUN,
            _RUN.pack(
                *(self._program, 0, len(frame), 0),  # program, return value, bytes in, bytes out
                *(ctypes.addressof(data), 0),  # data in and out
                *(1, 0, len(context), 0),  # repeat, duration, context bytes in, out
                *(ctypes.addressof(ctx), 0),  # context in and out
                *(_LIVE_FRAMES, 0, 1, 0),  # flags, CPU, batch size, padding
            ),
            f"live XDP frame on interface {ifindex}",
        )

    def _address(self, ifindex: int) -> bytes:
        """The interface's MAC, read each time, since an address can change and an index can be used again."""
        try:
            named = fcntl.ioctl(self._interfaces, _SIOCGIFNAME, _IFREQ_INDEX.pack(b"", ifindex))
            answer = fcntl.ioctl(self._interfaces, _SIOCGIFHWADDR, _IFREQ_ADDRESS.pack(named[:16], 0, b""))
        except OSError as error:
            raise InjectError(f"interface {ifindex}: {error.strerror}") from error
        _, kind, address = _IFREQ_ADDRESS.unpack(answer)
        if kind not in _FRAMED:
            raise InjectError(f"interface {ifindex}: not Ethernet")
        mac: bytes = address
        return mac

    def close(self) -> None:
        """Close the program and the socket."""
        os.close(self._program)
        self._interfaces.close()


def _bpf(command: int, attributes: bytes, what: str) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise InjectError(f"{what}: bpf(2) is not known on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _libc.syscall(number, command, buffer, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        hint = {errno.EPERM: "; CAP_BPF and CAP_NET_ADMIN are needed", errno.EINVAL: "; Linux 5.18 is needed"}
        raise InjectError(f"{what}: {os.strerror(code)}{hint.get(code, '')}")
    return result
