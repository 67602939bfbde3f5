"""The capture filter, as classic BPF (McCanne and Jacobson 1993; kernel `Documentation/networking/filter.rst`).

The packet begins at its IP header: what a filter on AF_PACKET SOCK_DGRAM sees, and xt_bpf. Of IPv4 (with or without
options) and IPv6 (without extension headers), unfragmented, UDP to the port, the filter passes everything except the
messages of a WireGuard session that is there already: types 2, 3 and 4 with zero reserved bytes. So transport data
never reaches us, however much of it flows, and garbage does, to be counted by its refusal.

A packet too short to hold a port is not passed; one whose payload is too short to hold a type is. Where the UDP header
and the buffer disagree on the length of the payload, the smaller counts.
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


_SOCK_FILTER: Final = Struct("=HBBI")  # native byte order: it is a C struct, not a packet


class Program(tuple[Instruction, ...]):
    """A classic BPF program."""

    __slots__ = ()

    def encode(self) -> bytes:
        """The array of `struct sock_filter` that SO_ATTACH_FILTER's `struct sock_fprog` points to."""
        return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in self)

    def xt_bytecode(self) -> str:
        """The text that `iptables -m bpf --bytecode` takes: the count, then each instruction."""
        return ",".join([str(len(self)), *(f"{i.code} {i.jt} {i.jf} {i.k}" for i in self)])


# The instructions used, by the names of linux/bpf_common.h and the assembler's notation in filter.rst.
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
"""How much of the packet passes: more than an IP packet can hold."""

_Step = tuple[int, int] | tuple[int, int, str, str]
"""Code and operand; a conditional jump also has the labels to go to if true and if false, "" being the next step."""


def capture_filter(port: int, *, responses: bool = False) -> Program:
    """The filter for one UDP destination port (1 to 65535). Raises InvalidValue.

    With `responses` message type 2 passes too, for a gateway that initiates and watches for the answer.
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
            # shorter than a header and a type: garbage, and the next load would end the program
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
    """Turn steps and labels into instructions; a label stands for the step that follows it."""
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
