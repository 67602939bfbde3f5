"""Times in claims are by the fleet's clock, and the ends of their ranges."""

from __future__ import annotations

from wgjit.core.knock.claims import MARGIN, SAME, Claims
from wgjit.core.knock.knocks import Knock
from wgjit.core.vocabulary.moment import Now
from wgjit.model import Claim, Endpoint, PrivateKey, Tai64n
from wgjit.record import FeedRecord
from wgjit.refusal import Refusal
from wgjit.wire.noise import Claimed

KEY = PrivateKey(b"\1" * 32).public()
HERE = Endpoint.parse("192.0.2.1:4000")
T = 1_800_000_000.0
SKEW = 3600.0


def knock(stamp: float, arrived: float = T) -> Knock:
    record = FeedRecord(arrived, HERE, HERE)
    record.timestamp, record.proven, record.public_key = Tai64n.from_unix(stamp), True, KEY
    made = Knock(1, record, HERE.address, False, 0.0)
    made.claimed = Claimed(KEY, b"", b"", b"")
    return made


def claims(ahead: float = 0.0) -> Claims:
    made = Claims("g", SKEW)
    if ahead:
        made.fleet_clock(ahead)
    return made


def stored(stamp: float, proven_at: float) -> Claim:
    return Claim(KEY, Tai64n.from_unix(stamp), "other", HERE, proven_at)


def test_a_stamp_may_be_as_far_ahead_as_it_may_and_no_second_more() -> None:
    for ahead in (0.0, 100.0, -100.0):
        now = Now(0.0, T)
        assert claims(ahead).follow(knock(T + ahead + SKEW), None, now) is None
        assert claims(ahead).follow(knock(T + ahead + SKEW + 1), None, now) is Refusal.FUTURE


def test_the_same_stamp_is_stale_and_the_next_is_not() -> None:
    known = stored(T, T)
    assert claims().follow(knock(T), known, Now(0.0, T)) is Refusal.STALE
    assert claims().follow(knock(T - 1), known, Now(0.0, T)) is Refusal.STALE
    assert claims().follow(knock(T + 1), known, Now(0.0, T)) is None


def test_a_claim_is_made_at_the_fleets_time() -> None:
    for ahead in (0.0, 100.0, -100.0):
        assert claims(ahead).made(knock(T, arrived=T + 5)).proven_at == T + 5 + ahead


def test_a_claim_is_inferred_at_the_fleets_time() -> None:
    for ahead in (0.0, 100.0, -100.0):
        claim = claims(ahead).infer(KEY, None, T - 20, HERE, Now(0.0, T))
        assert claim is not None
        assert claim.proven_at == T - 20 + ahead + MARGIN
        assert claim.timestamp == Tai64n.from_unix(T - 20 + ahead + MARGIN)


def test_no_handshake_is_later_than_now() -> None:
    claim = claims().infer(KEY, None, T + 1000, HERE, Now(0.0, T))
    assert claim is not None
    assert claim.proven_at == T + MARGIN


def test_the_handshake_of_the_last_proof_is_no_news() -> None:
    known = stored(T - 50, T - 20)
    assert claims().infer(KEY, known, T - 20, HERE, Now(0.0, T)) is None
    assert claims().infer(KEY, known, T - 20 + SAME, HERE, Now(0.0, T)) is None
    later = claims().infer(KEY, known, T - 20 + 2 * SAME, HERE, Now(0.0, T))
    assert later is not None
    assert later.timestamp == Tai64n.from_unix(T - 50).later(2 * SAME + MARGIN)
    assert later.greatest_proven == Tai64n.from_unix(T - 50)


def test_who_has_left_is_forgotten_once_the_store_has_the_claim() -> None:
    some = claims()
    claim = some.accept(some.made(knock(T)))
    some.left(KEY)
    assert some.newest(KEY) == claim, "it is not in the store yet"
    some.saved(claim, is_resident=True)
    assert some.newest(KEY) == claim
    some.left(KEY)
    assert some.newest(KEY) is None
    claim = some.accept(some.made(knock(T + 1)))
    some.saved(claim, is_resident=False)
    assert some.newest(KEY) is None
