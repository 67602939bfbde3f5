"""A classic BPF program that passes packets from given prefixes. It is made anew at each change, within microseconds.

For each prefix length in use, the program masks the source address, hashes it to 31 bits and looks for the hash in a
search tree. So it passes all packets from the prefixes, and by a rare collision others, too: the reader of the packets
has to compare addresses. Hashes have two merits. An IPv6 address takes no more instructions than an IPv4 address. And a
constant below 2^31 takes one instruction of the kernel's own kind, a greater one takes two.

All jumps of a tree are fixed by its size. So trees exist in few sizes, and to make a program is to write hashes into a
copy of a tree that was made before.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from functools import cache
from operator import itemgetter
from typing import Final, NamedTuple

Hashes = Mapping[int, Mapping[int, Collection[int]]]
"""The hashes of prefixes, by IP version and prefix length. None is empty."""

_MULTIPLIER: Final = 0x9E3779B1  # odd, so that multiplying loses nothing; near 2^32 divided by the golden ratio
_WORD: Final = 0xFFFFFFFF
_SHIFTS: Final = (96, 64, 32, 0)

PASSED: Final = 40
"""Bytes of a packet that pass: an IPv6 header, or an IPv4 header and more."""

# linux/bpf_common.h, with the assembler's notation in the kernel's Documentation/networking/filter.rst
_LOAD_WORD_AT: Final = 0x20  # ld [k]
_LOAD_BYTE_AT: Final = 0x30  # ldb [k]
_AND: Final = 0x54  # and #k
_MULTIPLY: Final = 0x24  # mul #k
_SHIFT_RIGHT: Final = 0x74  # rsh #k
_XOR_X: Final = 0xAC  # xor x
_TO_X: Final = 0x07  # tax
_JUMP: Final = 0x05  # jmp #k
_JUMP_EQUAL: Final = 0x15  # jeq #k
_JUMP_AT_LEAST: Final = 0x35  # jge #k
_RETURN: Final = 0x06  # ret #k
_STEP: Final = 8  # bytes in a struct sock_filter
_FAR: Final = 255  # instructions that a conditional jump can pass over

_SOURCE_AT: Final = {4: 12, 6: 8}  # the source address in the IP header
_LEAF: Final = 8  # hashes that are compared one after the other
_SIZES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)
"""Numbers of leaves that trees exist with."""
MOST_IN_A_TREE: Final = _SIZES[-1] * _LEAF
"""Hashes that a tree can hold."""
_LOADING: Final = 18  # instructions of the kernel's own that it makes of a load


def hash_of(version: int, length: int, network: int) -> int:
    """The 31-bit hash of a prefix: the IP version, its length, its address as an integer without host bits."""
    if version == 4:
        return (network * _MULTIPLIER & _WORD) >> 1
    hashed = 0
    for shift in _SHIFTS[: _words(length)]:
        hashed = (hashed ^ network >> shift & _WORD) * _MULTIPLIER & _WORD
    return hashed >> 1


def program(hashes: Hashes) -> bytes:
    """The `struct sock_filter`s over these prefixes."""
    of_ipv4, of_ipv6 = _part(4, hashes[4]), _part(6, hashes[6])
    if of_ipv4 == of_ipv6 == _END:
        return _END
    return _IS_IPV6 + _instruction(_JUMP, len(of_ipv4) // _STEP) + of_ipv4 + of_ipv6


def _part(version: int, hashes: Mapping[int, Collection[int]]) -> bytes:
    """The part for one IP version."""
    code: list[bytes] = []
    for length, wanted in hashes.items():
        if length == 0:
            return _instruction(_RETURN, PASSED)
        code += (_head(version, length), _tree(leaves_for(len(wanted))).filled(sorted(wanted)))
    code.append(_END)
    return b"".join(code)


def size(version: int, length: int, count: int) -> int:
    """About how many instructions the kernel makes of so many prefixes of a length, 1 or more.

    For more prefixes than a tree holds, this is more than a filter may have.
    """
    if length == 0:
        return 0
    if count > MOST_IN_A_TREE:
        return 2 * count
    return _head_size(version, length) + _tree(leaves_for(count)).size


def leaves_for(count: int) -> int:
    """Leaves of the smallest tree for that many hashes, which are at most MOST_IN_A_TREE."""
    return _SIZES[bisect_left(_SIZES, (count + _LEAF - 1) // _LEAF)]


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


_END: Final = _instruction(_RETURN, 0)
_IS_IPV6: Final = _instruction(_LOAD_BYTE_AT, 0) + _instruction(_JUMP_AT_LEAST, 0x60, if_false=1)
NOTHING: Final = _END
"""The program that passes no packet."""


def _words(length: int) -> int:
    return (length + 31) // 32


@cache
def _head_size(version: int, length: int) -> int:
    return len(_head(version, length)) // _STEP + _words(length) * _LOADING


@cache
def _head(version: int, length: int) -> bytes:
    """Load the source address and hash its first `length` bits, 1 or more."""
    code: list[bytes] = []
    words, rest = _words(length), length % 32
    for word in range(words):
        code.append(_instruction(_LOAD_WORD_AT, _SOURCE_AT[version] + 4 * word))
        if rest and word == words - 1:
            code.append(_instruction(_AND, _WORD << 32 - rest & _WORD))
        if word:
            code.append(_instruction(_XOR_X, 0))
        code.append(_instruction(_MULTIPLY, _MULTIPLIER))
        if word < words - 1:
            code.append(_instruction(_TO_X, 0))
    code.append(_instruction(_SHIFT_RIGHT, 1))
    return b"".join(code)


class _Tree(NamedTuple):
    """A tree without its hashes. If it finds the hash, the packet passes; else the program goes on behind the tree."""

    words: array[int]
    """The instructions as pairs of 32-bit words: codes and jumps, and the operand."""
    operands: Callable[[list[int]], tuple[int, ...]]
    """Takes the hashes in order, then the constants; returns the operands in the program's order."""
    constants: list[int]
    leaves: int

    @property
    def size(self) -> int:
        return len(self.words) // 2

    def filled(self, ordered: list[int]) -> bytes:
        """The instructions with these hashes, which fill places left over with the last one again."""
        spare = self.leaves * _LEAF - len(ordered)
        words = self.words[:]
        words[1::2] = array("I", self.operands([*ordered, *[ordered[-1]] * spare, *self.constants]))
        return words.tobytes()


@cache
def _tree(leaves: int) -> _Tree:
    steps = _branches(0, leaves)
    words, places, constants = array("I"), list[int](), list[int]()
    for here, step in enumerate([*steps, _Step(_RETURN, _Constant(PASSED))]):
        words.append(int.from_bytes(struct.pack("=HBB", step.code, step.if_true, step.if_false), sys.byteorder))
        words.append(0)
        if isinstance(step.operand, _Place):
            places.append(step.operand.number)
            continue
        places.append(leaves * _LEAF + len(constants))
        left = len(steps) - here - 1  # steps between this one and the return
        constants.append(left + 1 if step.operand is _MISS else left if step.operand is _HIT else step.operand.value)
    return _Tree(words, itemgetter(*places), constants, leaves)


class _Place(NamedTuple):
    """An operand that is a hash: its number in order."""

    number: int


class _Constant(NamedTuple):
    """An operand that is the same in all trees of a size."""

    value: int


class _Step(NamedTuple):
    code: int
    operand: _Place | _Constant
    if_true: int = 0
    if_false: int = 0


_MISS, _HIT = _Constant(-1), _Constant(-2)
"""Jumps behind the tree, and to the return at its end."""


def _branches(first: int, leaves: int) -> list[_Step]:
    """The steps for the leaves from `first` on. Each leaf ends in jumps, so none runs into its neighbour."""
    place = first * _LEAF
    if leaves == 1:
        compare = [_Step(_JUMP_EQUAL, _Place(place + n), if_true=_LEAF - n) for n in range(_LEAF)]
        return [*compare, _Step(_JUMP, _MISS), _Step(_JUMP, _HIT)]
    half = leaves // 2
    left, right = _branches(first, half), _branches(first + half, leaves - half)
    middle = _Place(place + half * _LEAF)
    if len(left) <= _FAR:
        return [_Step(_JUMP_AT_LEAST, middle, if_true=len(left)), *left, *right]
    return [_Step(_JUMP_AT_LEAST, middle, if_false=1), _Step(_JUMP, _Constant(len(left))), *left, *right]
