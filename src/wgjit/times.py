"""Durations and moments as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from wgjit.errors import InvalidValue
from wgjit.wire.key_text import quoted

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def _json(option: str) -> str:
    return option.replace("-", "_")


def parse_duration(text: str, field: str) -> int:
    """Read `90s`, `30m`, `12h`, `30d` or `2w`; return seconds. Raises InvalidValue that names `field`."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if match is None:
        raise InvalidValue(
            f"{field} {quoted(text)}: write a number and a unit, s, m, h, d or w, such as 30m", field=_json(field)
        )
    return int(match[1]) * _UNITS[match[2]]


def show_duration(seconds: int) -> str:
    """Write a duration in the largest unit that is exact: 30m, 90s. `parse_duration` reads it."""
    return next(f"{seconds // size}{unit}" for unit, size in _UNITS.items() if seconds % size == 0 and seconds >= size)


def parse_expiry(text: str, now: float, field: str = "expires-at") -> int | None:
    """Read an ISO 8601 date or time (UTC if it names no zone), `+30d` from `now`, or `never`.

    Returns Unix seconds, None for `never`. Units are s, m, h, d, w. Raises InvalidValue that names `field`.
    """
    if text == "never":
        return None
    if re.fullmatch(r"\+[0-9]{1,9}[smhdw]", text):
        return int(now) + parse_duration(text[1:], field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(
            f"{field} {quoted(text)}: write a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z, "
            "+30d from now, or never",
            field=_json(field),
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def parse_past(text: str, now: float, field: str) -> float:
    """Read `7d` (before `now`), or an ISO 8601 date or time (UTC if it names no zone); return Unix seconds.

    Raises InvalidValue that names `field`.
    """
    if re.fullmatch(r"[0-9]{1,9}[smhdw]", text):
        return now - parse_duration(text, field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(
            f"{field} {quoted(text)}: write how long ago, such as 7d or 12h, or a date or time such as 2027-01-31",
            field=_json(field),
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_lifetime(text: str, now: float) -> int | None:
    """Read `30d` (from `now`) or `never`; return Unix seconds, None for `never`. Raises InvalidValue."""
    return None if text == "never" else int(now) + parse_duration(text.removeprefix("+"), "expires")


def show_moment(seconds: float | None) -> str | None:
    """RFC 3339 in UTC to the second; `@` and the number if it is outside the calendar."""
    if seconds is None:
        return None
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"@{int(seconds)}"
