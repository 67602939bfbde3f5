"""TAI64N, the timestamp in an initiation (https://cr.yp.to/libtai/tai64.html; paper, section 5.1).

WireGuard uses it in its own way (`tai64n_now` in the kernel's noise.c): seconds are Unix seconds plus 2^62 plus 10, and
leap seconds do not count. A stamp has twelve bytes, big-endian, so the order of stamps is the order of their bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self

from wgjit.errors import InvalidValue
from wgjit.wire.key_text import quoted

_EPOCH = (1 << 62) + 10
_NANOSECONDS = 1_000_000_000


class Tai64n(bytes):
    """Eight bytes of seconds and four of nanoseconds. Ordered and hashed as bytes."""

    __slots__ = ()
    LENGTH = 12

    def __new__(cls, raw: bytes) -> Self:
        """Take the 12 raw bytes. Raises InvalidValue for any other length; any content is allowed."""
        if len(raw) != cls.LENGTH:
            raise InvalidValue(f"timestamp: {len(raw)} bytes, must be {cls.LENGTH}")
        return super().__new__(cls, raw)

    @classmethod
    def from_unix(cls, seconds: float) -> Self:
        """The stamp of a Unix time in seconds, to the microsecond, which is a float's precision."""
        return cls.from_unix_ns(int(seconds * 1_000_000) * 1000)

    @classmethod
    def from_unix_ns(cls, nanoseconds: int) -> Self:
        """The stamp of a Unix time in whole nanoseconds."""
        whole, part = divmod(nanoseconds, _NANOSECONDS)
        return cls((_EPOCH + whole).to_bytes(8, "big") + part.to_bytes(4, "big"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the form that `str` gives. Raises InvalidValue."""
        try:
            if text.startswith("@"):
                return cls(bytes.fromhex(text[1:]))
            whole, _, part = text.removesuffix("Z").partition(".")
            moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
            if len(part) != 9 or not part.isdecimal():
                raise ValueError
        except ValueError:
            raise InvalidValue(
                f"timestamp {quoted(text)}: write 2026-01-31T12:00:00.000000000Z or @ and 24 hex digits"
            ) from None
        return cls.from_unix_ns(int(moment.timestamp()) * _NANOSECONDS + int(part))

    @property
    def unix(self) -> float:
        """Unix time in seconds. A client chooses these bytes, so the value can be far outside of any calendar."""
        return int.from_bytes(self[:8], "big") - _EPOCH + int.from_bytes(self[8:], "big") / _NANOSECONDS

    @property
    def _total(self) -> int:
        """Nanoseconds since the beginning of TAI64."""
        return int.from_bytes(self[:8], "big") * _NANOSECONDS + int.from_bytes(self[8:], "big")

    def since(self, other: Tai64n) -> float:
        """Seconds from another stamp to this one, also for stamps that are far outside of any calendar."""
        return (self._total - other._total) / _NANOSECONDS

    def later(self, seconds: float) -> Tai64n:
        """The stamp `seconds` after this one. It is the greatest possible stamp if the result would be greater."""
        total = max(0, self._total + int(seconds * _NANOSECONDS))
        whole, part = divmod(min(total, (1 << 64) * _NANOSECONDS - 1), _NANOSECONDS)
        return Tai64n(whole.to_bytes(8, "big") + part.to_bytes(4, "big"))

    def __str__(self) -> str:
        """RFC 3339 in UTC with nanoseconds; `@` and the bytes in hex if no calendar holds the value."""
        seconds = int.from_bytes(self[:8], "big") - _EPOCH
        nanoseconds = int.from_bytes(self[8:], "big")
        try:
            if nanoseconds >= _NANOSECONDS:
                raise ValueError
            moment = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            return "@" + self.hex()  # the @ form of tai64nlocal
        # isoformat, not strftime, which leaves out a year's leading zeros
        return f"{moment.replace(tzinfo=None).isoformat()}.{nanoseconds:09d}Z"

    def __repr__(self) -> str:
        return f"Tai64n({self})"
