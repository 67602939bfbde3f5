"""The capture filter, as classic BPF (McCanne and Jacobson 1993; kernel `Documentation/networking/filter.rst`).

The packet begins at its IP header, as for a filter on AF_PACKET SOCK_DGRAM and for xt_bpf. The filter looks at
unfragmented UDP packets to the port, in IPv4 (with or without options) and IPv6 (without extension headers). It drops
the messages of an existing WireGuard session, that is, types 2, 3 and 4 with zero reserved bytes, and passes everything
else. So transport data never reaches wgjit, whatever its amount. Garbage does, and is counted by its refusal.

A packet that is too short for a port is dropped. A packet whose payload is too short for a type passes. If the UDP
header and the buffer disagree on the length of the payload, the smaller length counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from wgjit.errors import InvalidValue
from wgjit.wire.messages import COOKIE_REPLY, RESPONSE, TRANSPORT_DATA


class Instruction(NamedTuple):
    """One `struct sock_filter` (linux/filter.h): code, jump offsets if true and if false, operand."""

    code: int
    jt: int
    jf: int
    k: int


_SOCK_FILTER: Final = Struct("=HBBI")  # native byte order, because it is a C struct and no packet


class Program(tuple[Instruction, ...]):
    """A classic BPF program."""

    __slots__ = ()

    def encode(self) -> bytes:
        """The array of `struct sock_filter` that SO_ATTACH_FILTER's `struct sock_fprog` points to."""
        return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in self)

    def xt_bytecode(self) -> str:
        """The text that `iptables -m bpf --bytecode` takes: the count, then each instruction."""
        return ",".join([str(len(self)), *(f"{i.code} {i.jt} {i.jf} {i.k}" for i in self)])


# The used instructions, with the names of linux/bpf_common.h and the assembler's notation in filter.rst.
_LOAD_WORD: Final = 0x40  # ld [x + k] (BPF_LD | BPF_W | BPF_IND)
_LOAD_HALF: Final = 0x48  # ldh [x + k]
_LOAD_HALF_AT: Final = 0x28  # ldh [k]
_LOAD_BYTE_AT: Final = 0x30  # ldb [k]
_LOAD_LENGTH: Final = 0x80  # ld #len
_LOAD_X: Final = 0x01  # ldx #k
_LOAD_X_IHL: Final = 0xB1  # ldxb 4*([k]&0xf)
_SUBTRACT_X: Final = 0x1C  # sub x
_JUMP: Final = 0x05  # jmp
_JUMP_EQUAL: Final = 0x15  # jeq #k
_JUMP_AT_LEAST: Final = 0x35  # jge #k
_JUMP_ANY_BIT: Final = 0x45  # jset #k
_RETURN: Final = 0x06  # ret #k

_WHOLE_PACKET: Final = 0x40000
"""Bytes of the packet that pass: more than an IP packet can hold."""

_Step = tuple[int, int] | tuple[int, int, str, str]
"""Code and operand. A conditional jump also has the labels for true and for false; "" is the next step."""


def capture_filter(port: int, *, responses: bool = False) -> Program:
    """The filter for one UDP destination port (1 to 65535). Raises InvalidValue.

    With `responses` message type 2 passes, too, for a gateway that initiates and waits for the answer.
    """
    if not 0 < port < 65536:
        raise InvalidValue(f"port {port}: must be 1 to 65535")
    session = [COOKIE_REPLY, TRANSPORT_DATA] if responses else [RESPONSE, COOKIE_REPLY, TRANSPORT_DATA]
    return _assemble(
        [
            # version and header length share the first byte: 0x45 to 0x4f is IPv4, 0x60 to 0x6f is IPv6
            (_LOAD_BYTE_AT, 0),
            (_JUMP_AT_LEAST, 0x70, "drop", ""),
            (_JUMP_AT_LEAST, 0x60, "ipv6", ""),
            (_JUMP_AT_LEAST, 0x50, "drop", ""),
            (_JUMP_AT_LEAST, 0x45, "", "drop"),
            # IPv4: UDP, and neither more-fragments nor an offset
            (_LOAD_BYTE_AT, 9),
            (_JUMP_EQUAL, 17, "", "drop"),
            (_LOAD_HALF_AT, 6),
            (_JUMP_ANY_BIT, 0x3FFF, "drop", ""),
            (_LOAD_X_IHL, 0),
            (_JUMP, 0, "udp", ""),
            "ipv6",
            (_LOAD_BYTE_AT, 6),
            (_JUMP_EQUAL, 17, "", "drop"),
            (_LOAD_X, 40),
            "udp",  # X is the offset of the UDP header
            (_LOAD_HALF, 2),
            (_JUMP_EQUAL, port, "", "drop"),
            # pass if too short for a header and a type: it is garbage, and the next load would end the program
            (_LOAD_LENGTH, 0),
            (_SUBTRACT_X, 0),
            (_JUMP_AT_LEAST, 12, "", "pass"),
            (_LOAD_HALF, 4),
            (_JUMP_AT_LEAST, 12, "", "pass"),
            # type and reserved bytes as a big-endian word
            (_LOAD_WORD, 8),
            *[(_JUMP_EQUAL, kind << 24, "drop", "") for kind in session],
            "pass",
            (_RETURN, _WHOLE_PACKET),
            "drop",
            (_RETURN, 0),
        ]
    )


def _assemble(lines: Sequence[_Step | str]) -> Program:
    """Turn steps and labels into instructions. A label names the step that follows it."""
    places: dict[str, int] = {}
    steps: list[_Step] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(steps)
        else:
            steps.append(line)

    def distance(here: int, label: str) -> int:
        return places[label] - here - 1 if label else 0

    def instruction(here: int, step: _Step) -> Instruction:
        if len(step) == 2:
            return Instruction(step[0], 0, 0, step[1])
        code, operand, if_true, if_false = step
        if code == _JUMP:  # the unconditional jump carries its distance as the operand
            return Instruction(code, 0, 0, distance(here, if_true))
        return Instruction(code, distance(here, if_true), distance(here, if_false), operand)

    return Program(instruction(here, step) for here, step in enumerate(steps))
