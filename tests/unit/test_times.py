"""Durations, idle timeouts and moments: text in, seconds out, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgjit.errors import InvalidValue
from wgjit.times import (
    parse_duration,
    parse_expiry,
    parse_past,
    show_duration,
    show_moment,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("30m", 1800), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text, "field") == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "1.5h", "-5m", "+5m", "5y", "5 m", "5m\n", "٣m", "9999999999s"])
def test_bad_durations_name_the_field_and_the_fix(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^field .*: write a number and a unit.* such as 30m$"):
        parse_duration(text, "field")


@given(st.integers(1, 999_999_999))
def test_what_is_shown_reads_back(seconds: int) -> None:
    assert parse_duration(show_duration(seconds), "field") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("never", None),
        ("+90s", 1090),
        ("+2m", 1120),
        ("+1h", 4600),
        ("+30d", 1000 + 30 * 86400),
        ("+2w", 1000 + 14 * 86400),
        ("2001-09-09", 999993600),
        ("2001-09-09T01:46:40", 1000000000),
        ("2001-09-09T01:46:40Z", 1000000000),
        ("2001-09-09T03:46:40+02:00", 1000000000),
    ],
)
def test_expiry(text: str, seconds: int | None) -> None:
    assert parse_expiry(text, 1000.9) == seconds


@pytest.mark.parametrize("text", ["", "30d", "+d", "+5y", "+-5d", "tomorrow", "2001-13-01", "+99999999999d"])
def test_bad_expiry(text: str) -> None:
    with pytest.raises(InvalidValue, match="expires-at"):
        parse_expiry(text, 0.0)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, None), (1_000_000_000.9, "2001-09-09T01:46:40Z"), (10**15, "@1000000000000000")]
)
def test_moments(seconds: float | None, shown: str | None) -> None:
    assert show_moment(seconds) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 1_000_000.5),
        ("90s", 1_000_000.5 - 90),
        ("7d", 1_000_000.5 - 7 * 86400),
        ("1970-01-02", 86400.0),
        ("1970-01-02T01:00:00+01:00", 86400.0),
        ("1970-01-01T00:00:00.5Z", 0.5),
        ("0001-01-01", -62135596800.0),
    ],
)
def test_past(text: str, seconds: float) -> None:
    assert parse_past(text, 1_000_000.5, "since") == seconds


@pytest.mark.parametrize("text", ["", "d", "7", "+7d", "-7d", "7y", "yesterday", "1970-13-01", "9999999999d"])
def test_bad_past(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^since "):
        parse_past(text, 0.0, "since")
