"""Finds few prefixes that together hold all registered addresses inside a wider prefix.

The registered ranges are disjoint and sorted. So a block with several ranges can be narrowed to their common prefix and
cut into two halves that each hold some of them. This is a radix tree, of which only the upper nodes are made. The
widest block is cut first. Each cut costs a few index seeks, whatever the number of peers.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple

from wgjit.model import AllowedIP, Cover
from wgjit.stores import packing

Range = tuple[bytes, bytes]
"""First and last address, packed as in `packing`."""

Ranges = Callable[[bytes, bytes, int], list[Range]]
"""Returns, in order, the registered ranges that begin between two packed addresses: at most as many as the third
argument says, and from the end if it is negative."""

FULL_BITS = 8
"""A block with at most this many host bits is counted. If each address in it is registered, it is not cut."""


class _Block(NamedTuple):
    length: int
    """Length of the prefix in bits. It is the first field, so that the widest block is cut first."""
    base: int
    family: bytes
    several: bool
    """It holds more than one range."""

    @property
    def bits(self) -> int:
        return 32 if self.family == b"\x04" else 128

    def bounds(self) -> Range:
        size = self.bits // 8
        last = self.base | ((1 << (self.bits - self.length)) - 1)
        return self.family + self.base.to_bytes(size, "big"), self.family + last.to_bytes(size, "big")

    def prefix(self) -> AllowedIP:
        if self.bits == 32:
            return ipaddress.IPv4Network((self.base, self.length))
        return ipaddress.IPv6Network((self.base, self.length))


def find_cover(ranges: Ranges, within: Iterable[AllowedIP], limit: int) -> Cover:
    """Prefixes that hold every registered range which lies in a prefix of `within` and is not that prefix itself.

    Each is longer than the prefix of `within` that it is for. There are about `limit` of them at most. If these are too
    few, they hold unregistered addresses, too, and the cover is not `exact`.
    """
    prefixes: dict[AllowedIP, None] = {}
    exact = True
    for outer in sorted(within, key=lambda prefix: -prefix.prefixlen):  # a narrow prefix needs few
        found, complete = _refine(ranges, outer, max(2, limit - len(prefixes)))
        prefixes.update(dict.fromkeys(found))
        exact = exact and complete
    return Cover(tuple(prefixes), exact)


def _refine(ranges: Ranges, outer: AllowedIP, limit: int) -> tuple[list[AllowedIP], bool]:
    first, last = packing.pack_range(outer)
    root = _block(ranges, first, last or first)
    if root is None or root.length < outer.prefixlen or (root.length == outer.prefixlen and not root.several):
        return [], True  # no range in it, or one range that is as wide
    done: list[AllowedIP] = []
    open_blocks = [root]
    while open_blocks and (len(done) + len(open_blocks) < limit or open_blocks[0].length <= outer.prefixlen):
        block = heapq.heappop(open_blocks)
        if not block.several or (block.length > outer.prefixlen and _is_full(ranges, block)):
            done.append(block.prefix())
            continue
        half = block.length + 1
        for base in (block.base, block.base | (1 << (block.bits - half))):
            part = _block(ranges, *_Block(half, base, block.family, several=True).bounds())
            if part is not None:
                heapq.heappush(open_blocks, part)
    exact = not any(block.several for block in open_blocks)
    return done + [block.prefix() for block in open_blocks], exact


def _block(ranges: Ranges, first: bytes, last: bytes) -> _Block | None:
    """The narrowest block around all ranges that begin between the two addresses."""
    found = ranges(first, last, 2)
    if not found:
        return None
    end = found[0][1] if len(found) == 1 else ranges(first, last, -1)[0][1]
    low, high = int.from_bytes(found[0][0][1:], "big"), int.from_bytes(end[1:], "big")
    host_bits = (low ^ high).bit_length()
    return _Block(8 * (len(first) - 1) - host_bits, low >> host_bits << host_bits, first[:1], len(found) > 1)


def _is_full(ranges: Ranges, block: _Block) -> bool:
    host_bits = block.bits - block.length
    if host_bits > FULL_BITS:
        return False
    found = ranges(*block.bounds(), (1 << host_bits) + 1)
    taken = sum(int.from_bytes(last[1:], "big") - int.from_bytes(first[1:], "big") + 1 for first, last in found)
    return taken == 1 << host_bits
