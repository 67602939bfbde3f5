"""The door: cheapest check first, and a flood does not shut it for those who behave."""

from __future__ import annotations

from itertools import count

from wgjit.core.knock.door import Door
from wgjit.refusal import Refusal

HERE, THERE = b"\xc0\0\2\1", b"\xc0\0\2\2"
mac1s = (number.to_bytes(16, "big") for number in count())


def spoofed(number: int) -> bytes:
    return (198 << 24 | 18 << 16 | number).to_bytes(4, "big")


def test_a_packet_is_a_duplicate_before_it_is_too_many() -> None:
    door = Door()
    assert door.admit(b"m" * 16, HERE, 0.0) is None
    assert door.admit(b"m" * 16, HERE, 0.0) is Refusal.DUPLICATE
    answers = [door.admit(next(mac1s), HERE, 0.0) for _ in range(200)]
    assert answers == [None] * 199 + [Refusal.RATE_LIMITED]


def test_each_exchange_is_paid_for_until_the_budget_is_spent() -> None:
    door = Door(exchanges=100)  # a burst of 50, of which 15 are for new sources
    assert [door.exchange(HERE, 0.0) for _ in range(16)] == [None] * 15 + [Refusal.OVERLOADED]
    door.proven(THERE, 0.0)
    assert [door.exchange(THERE, 0.0) for _ in range(26)] == [None] * 25 + [Refusal.OVERLOADED]
    assert door.exchange(HERE, 1.0) is None


def test_in_a_flood_from_spoofed_sources_old_friends_and_newcomers_get_in() -> None:
    """4,000 packets a second from 10,000 sources against a budget of 1,600, for 20 s; all are refused if opened."""
    door = Door(exchanges=1600)
    door.proven(HERE, 0.0)
    friends, newcomers, opened = [], [], 0
    for packet in range(20 * 4_000):
        now = packet / 4_000
        source = spoofed(packet % 10_000)
        if door.admit(next(mac1s), source, now) is None:
            opened += 1
            door.refused(source, Refusal.BAD_STATIC, now)
        if packet % 2_000 == 1_000:
            friends.append(door.admit(next(mac1s), HERE, now))
            newcomers.append(door.admit(next(mac1s), (10 << 24 | packet).to_bytes(4, "big"), now))
    assert friends == [None] * 40
    late = newcomers[20:]  # by then, each of the flood's sources has been caught once
    assert sum(answer is None for answer in late) >= 18
    assert opened < 20 * 1_600 * 0.7


def test_a_refusal_for_a_fault_leaves_a_source_the_bad_ones_share_alone() -> None:
    """And a proof makes it good again. Ten exchanges at once: five for good sources, three for new, two for bad."""
    for outcome, left in (("none", 3), ("forged", 2), ("stale", 3), ("proven", 5), ("forged, proven", 5)):
        door = Door(exchanges=20.0)
        if "forged" in outcome:
            door.refused(b"\xc0\0\2\1", Refusal.FORGED, 0.0)
        if outcome == "stale":
            door.refused(b"\xc0\0\2\1", Refusal.STALE, 0.0)
        if "proven" in outcome:
            door.proven(b"\xc0\0\2\1", 0.0)
        paid = [door.exchange(b"\xc0\0\2\1", 0.0) for _ in range(10)]
        assert paid == [None] * left + [Refusal.OVERLOADED] * (10 - left), outcome
