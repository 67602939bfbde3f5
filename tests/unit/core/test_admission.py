"""Bounded memories: what a source may ask for, and what was seen a moment ago."""

from __future__ import annotations

from wgjit.core.admission import RecentInitiations, SourceLimits
from wgjit.model import Endpoint


def address(text: str) -> bytes:
    return Endpoint.parse(f"{text}:1").address


def test_a_source_gets_its_burst_and_then_its_rate() -> None:
    limits = SourceLimits(rate=2, burst=3)
    assert [limits.admit(address("192.0.2.1"), 0.0) for _ in range(4)] == [True, True, True, False]
    assert [limits.admit(address("192.0.2.1"), 0.5) for _ in range(2)] == [True, False]
    assert [limits.admit(address("192.0.2.1"), 100.0) for _ in range(4)] == [True, True, True, False]


def test_sources_do_not_share_an_ipv4_address_but_share_an_ipv6_64() -> None:
    limits = SourceLimits(rate=1, burst=1)
    assert limits.admit(address("192.0.2.1"), 0.0)
    assert limits.admit(address("192.0.2.2"), 0.0)
    assert limits.admit(address("[2001:db8::1]"), 0.0)
    assert not limits.admit(address("[2001:db8::2]"), 0.0)
    assert limits.admit(address("[2001:db8:0:1::1]"), 0.0)


def test_the_memory_of_sources_is_bounded_and_forgets_the_longest_silent() -> None:
    limits = SourceLimits(rate=0, burst=1, capacity=2)
    for host in (1, 2, 3):
        assert limits.admit(address(f"192.0.2.{host}"), 0.0)
    assert len(limits) == 2
    assert not limits.admit(address("192.0.2.3"), 0.0)
    assert limits.admit(address("192.0.2.1"), 0.0)


def test_a_clock_that_stands_still_gives_no_tokens() -> None:
    limits = SourceLimits(rate=1000, burst=1)
    assert limits.admit(b"\1\2\3\4", 5.0)
    assert not limits.admit(b"\1\2\3\4", 5.0)


def test_an_initiation_is_recent_for_a_second_and_then_forgotten() -> None:
    recent = RecentInitiations(window=1.0, capacity=2)
    assert not recent.seen_before(b"a", 0.0)
    assert recent.seen_before(b"a", 0.5)
    assert not recent.seen_before(b"a", 1.5)
    assert not recent.seen_before(b"b", 1.5)
    assert not recent.seen_before(b"c", 1.5)
    assert not recent.seen_before(b"a", 1.6)
