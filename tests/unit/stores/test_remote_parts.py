"""The remote store's pure parts, one by one: breaker, budget, entries, answers, backoff."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wgjit.errors import StoreError, StoreThrottled, StoreUnreachable
from wgjit.model import Peer, PublicKey
from wgjit.stores.remote.answer import Absent, Found, Unchanged, etag, max_age, read_answer, retry_after
from wgjit.stores.remote.breaker import FAILURES, Breaker
from wgjit.stores.remote.breaker import LONGEST as LONGEST_PEACE
from wgjit.stores.remote.cached_answer import LEAST, LEAST_FOLLOWED, CachedAnswer, lives
from wgjit.stores.remote.events import LONGEST, SELDOM, SHORTEST, Backoff
from wgjit.stores.remote.renewal import AGAIN, Renewal
from wgjit.stores.remote.request_budget import RECOVERY, RequestBudget

KEY = PublicKey(bytes(range(32)))
OTHER = PublicKey(bytes(range(1, 33)))
PEER = Peer(KEY, ())
JSON = {"content-type": "application/json; charset=utf-8"}


class TestBreaker:
    def test_failures_in_a_row_open_it_and_one_request_a_second_probes(self) -> None:
        breaker = Breaker()
        for _ in range(FAILURES - 1):
            breaker.failed(100.0, "no answer")
        assert not breaker.is_down
        assert all(breaker.may_ask(100.0) for _ in range(10))
        breaker.failed(100.0, "the last")
        assert breaker.is_down
        assert breaker.why == "the last"
        assert [breaker.may_ask(now) for now in (100.0, 100.99, 101.0, 101.0, 101.5, 102.0)] == [
            False, False, True, False, False, True,
        ]  # fmt: skip

    def test_a_success_between_failures_begins_the_count_anew(self) -> None:
        breaker = Breaker()
        for now in range(10 * FAILURES):
            breaker.failed(now, "no answer")
            breaker.succeeded()
        assert not breaker.is_down
        assert breaker.may_ask(0.0)

    @pytest.mark.parametrize(("asked", "kept"), [(0.0, 0.0), (30.0, 30.0), (1e9, LONGEST_PEACE)])
    def test_who_asks_for_peace_has_it_at_once_but_not_for_ever(self, asked: float, kept: float) -> None:
        breaker = Breaker()
        breaker.failed(100.0, "429", asked)
        assert breaker.is_down
        if kept:
            assert not breaker.may_ask(100.0 + kept - 0.01)
        assert breaker.may_ask(100.0 + kept)

    def test_a_failure_does_not_shorten_the_peace_that_was_asked_for(self) -> None:
        breaker = Breaker()
        breaker.failed(100.0, "503", 30.0)
        breaker.failed(101.0, "no answer")  # a request that was under way
        assert not breaker.may_ask(129.0)
        assert breaker.may_ask(130.0)


class TestBudget:
    def test_a_second_brings_the_rate_and_no_more_is_saved_up(self) -> None:
        budget = RequestBudget(10.0)
        assert sum(budget.take(0.0, for_knock=True) for _ in range(100)) == 10
        assert sum(budget.take(0.55, for_knock=True) for _ in range(100)) == 5
        assert sum(budget.take(1000.0, for_knock=True) for _ in range(100)) == 10

    def test_half_is_kept_for_knocks(self) -> None:
        budget = RequestBudget(10.0)
        assert sum(budget.take(0.0, for_knock=False) for _ in range(100)) == 5
        assert sum(budget.take(0.0, for_knock=True) for _ in range(100)) == 5

    def test_the_smallest_budget_still_renews_answers_and_serves_knocks(self) -> None:
        budget = RequestBudget(1.0)
        assert budget.take(0.0, for_knock=False)
        assert not budget.take(0.0, for_knock=False)
        assert budget.take(0.0, for_knock=True)
        assert not budget.take(0.0, for_knock=True)

    def test_who_asks_again_has_half_of_the_rate_however_long_there_is_no_knock(self) -> None:
        budget = RequestBudget(10.0)
        taken = sum(budget.take(now / 100, for_knock=False) for now in range(1001))  # ten seconds
        assert 50 <= taken <= 56

    def test_a_service_that_allows_less_is_given_peace_and_then_half(self) -> None:
        budget = RequestBudget(16.0)
        assert budget.slow_down(100.0, 2.0)
        assert not budget.slow_down(100.5, 2.0), "what was sent before the first 429 came"
        assert not budget.take(102.4, for_knock=True)
        assert budget.rate == pytest.approx(8.0, abs=0.1)
        assert sum(budget.take(102.5, for_knock=True) for _ in range(100)) == 8
        assert sum(budget.take(103.5, for_knock=True) for _ in range(100)) == 8

    def test_it_takes_half_an_hour_to_ask_as_before(self) -> None:
        budget = RequestBudget(16.0)
        budget.slow_down(100.0, 0.0)
        budget.take(100.0 + RECOVERY / 4, for_knock=True)
        assert budget.rate == pytest.approx(12.0, abs=0.1)
        budget.take(100.0 + RECOVERY, for_knock=True)
        assert budget.rate == 16.0

    def test_there_is_a_least_rate_and_a_longest_peace(self) -> None:
        budget = RequestBudget(16.0)
        for number in range(20):
            budget.slow_down(100.0 + 2 * number, 1e9)
        assert 1.0 <= budget.rate < 2.0
        assert not budget.take(138.0 + LONGEST_PEACE - 0.1, for_knock=True)
        assert budget.take(138.0 + LONGEST_PEACE, for_knock=True)

    def test_a_clock_that_goes_back_brings_nothing(self) -> None:
        budget = RequestBudget(2.0)
        while budget.take(100.0, for_knock=True):
            pass
        assert not budget.take(50.0, for_knock=True)


class TestRenewal:
    def test_an_answer_is_due_when_it_has_grown_old_or_was_spoken_of(self) -> None:
        renewal = Renewal()
        assert renewal.is_due(KEY, 100.0), "nobody knows"
        renewal.answered(KEY, 100.0, 60.0)
        assert not renewal.is_due(KEY, 159.9)
        assert renewal.is_due(KEY, 160.0)
        renewal.answered(KEY, 160.0, 60.0)
        renewal.spoken_of(KEY)
        assert renewal.is_due(KEY, 160.0)

    def test_what_failed_is_not_asked_again_at_once_unless_it_is_spoken_of(self) -> None:
        renewal, why = Renewal(), StoreError("no")
        renewal.failed(KEY, 100.0, why)
        assert renewal.failure(KEY, 100.0 + AGAIN - 0.1) is why
        assert not renewal.is_due(KEY, 100.0 + AGAIN - 0.1)
        assert renewal.is_due(KEY, 100.0 + AGAIN)
        renewal.failed(KEY, 200.0, why)
        renewal.spoken_of(KEY)
        assert renewal.is_due(KEY, 200.0)

    def test_it_holds_nothing_of_those_who_matter_no_more(self) -> None:
        renewal = Renewal()
        for key in (KEY, OTHER):
            renewal.failed(key, 100.0, StoreError("no"))
        renewal.keep({OTHER})
        assert renewal.failure(KEY, 100.0) is None
        assert renewal.failure(OTHER, 100.0) is not None


class TestEntry:
    @pytest.mark.parametrize(
        ("now", "fresh"),
        [(999.9, False), (1000.0, True), (1059.9, True), (1060.0, False)],  # one from the future is not fresh
    )
    def test_it_is_fresh_for_its_time_to_live(self, now: float, fresh: bool) -> None:
        assert CachedAnswer(KEY, PEER, None, 1000.0, 60.0).is_fresh(now, not_before=0.0) is fresh

    def test_what_was_asked_before_events_were_missed_is_not_fresh(self) -> None:
        entry = CachedAnswer(KEY, PEER, None, 1000.0, 60.0)
        assert not entry.is_fresh(1010.0, not_before=1005.0)
        assert entry.is_fresh(1010.0, not_before=1000.0)

    def test_a_mark_that_a_wrong_clock_has_put_in_the_future_does_not_stop_the_cache_for_ever(self) -> None:
        assert CachedAnswer(KEY, PEER, None, 1010.0, 60.0).is_fresh(1010.0, not_before=1e9)

    def test_it_is_usable_for_stale_seconds_more_and_not_once_an_event_spoke_of_it(self) -> None:
        entry = CachedAnswer(KEY, PEER, None, 1000.0, 60.0)
        assert entry.is_usable(1159.9, stale=100.0)
        assert not entry.is_usable(1160.0, stale=100.0)
        assert not CachedAnswer(KEY, PEER, None, 1000.0, 60.0, is_valid=False).is_usable(1001.0, stale=100.0)
        assert not CachedAnswer(KEY, PEER, None, 1000.0, 60.0, is_valid=False).is_fresh(1001.0, not_before=0.0)

    def test_a_stale_no_is_never_an_answer(self) -> None:
        assert not CachedAnswer(KEY, None, None, 1000.0, 60.0).is_usable(1001.0, stale=100.0)

    @pytest.mark.parametrize(
        ("peer", "max_age", "expected"),
        [
            (PEER, None, 300.0),
            (PEER, 100.0, 100.0),
            (PEER, 1e6, 300.0),  # the service's word shortens only
            (PEER, 5.0, LEAST),  # but not to a request a second of each resident
            (PEER, 0.0, LEAST),
            (None, 0.0, 4.0),
            (None, None, 4.0),
            (Peer(KEY, (), enabled=False), None, 4.0),
            (Peer(KEY, (), expires_at=1000), None, 4.0),
            (Peer(KEY, (), expires_at=1001), None, 300.0),
        ],
    )
    def test_how_long_an_answer_lives(self, peer: Peer | None, max_age: float | None, expected: float) -> None:
        assert lives(peer, 1000.0, 300.0, 4.0, max_age, followed=False) == expected

    @pytest.mark.parametrize(
        ("max_age", "expected"),
        [(None, 300.0), (0.0, 300.0), (1.0, LEAST_FOLLOWED), (100.0, 100.0), (1e6, 300.0)],
    )
    def test_how_long_it_lives_while_events_tell_what_changes(self, max_age: float | None, expected: float) -> None:
        assert lives(PEER, 1000.0, 300.0, 4.0, max_age, followed=True) == expected
        assert lives(PEER, 1000.0, 5.0, 4.0, max_age, followed=True) == 5.0, "never longer than is configured"
        assert lives(None, 1000.0, 300.0, 4.0, max_age, followed=True) == 4.0


def answered(status: int, body: bytes = b"", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(status, named, body, KEY, 1000.0)


def found(**fields: Any) -> Any:
    body = json.dumps({"public_key": str(KEY)} | fields).encode()
    return answered(200, body, content_type="application/json")


class TestAnswer:
    def test_a_peer_with_its_etag_and_age(self) -> None:
        body = json.dumps({"public_key": str(KEY), "name": "alice", "unheard_of": 1}).encode()
        answer = read_answer(200, JSON | {"etag": '"7"', "cache-control": "private, max-age=30"}, body, KEY, 0.0)
        assert answer == Found(Peer(KEY, (), name="alice"), '"7"', 30.0)
        assert answered(304, cache_control="no-cache") == Unchanged(0.0)

    @pytest.mark.parametrize(
        "body",
        [
            {"type": "urn:wgjit:problem:no-such-peer"},
            {"type": "https://example.org/problems/no-such-peer"},
            {"type": "no-such-peer"},
            {"public_key": str(KEY)},
        ],
    )
    def test_a_404_that_says_what_is_missing_is_a_no(self, body: dict[str, str]) -> None:
        assert answered(404, json.dumps(body).encode()) == Absent()

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"<html>Not Found</html>", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 60_000,
            b'{"type": "about:blank"}', b'{"type": 7}', b'{"type": "x-no-such-peer"}', b'{"type": "no-such-peers"}',
            json.dumps({"public_key": str(OTHER)}).encode(), json.dumps({"detail": "no-such-peer"}).encode(),
        ],
    )  # fmt: skip
    def test_any_other_404_is_no_answer(self, body: bytes) -> None:
        with pytest.raises(StoreUnreachable, match=r"^store\.url: the answer 404 "):
            answered(404, body)

    @pytest.mark.parametrize(
        ("status", "field"),
        [(401, "store.token_file"), (403, "store.token_file"), (301, "store.url"), (308, "store.url"),
         (204, "store.url"), (400, "store.url"), (410, "store.url"), (500, "store.url"), (0, "store.url")],
    )  # fmt: skip
    def test_no_other_status_is_a_no(self, status: int, field: str) -> None:
        with pytest.raises(StoreUnreachable, match=rf"^{field}: .*status {status}|^{field}: .*\(status {status}\)"):
            answered(status, b'{"type": "no-such-peer"}')

    @pytest.mark.parametrize("body", [b"", b"null", b"[]", b"7", b"{", b"\xff", b"[" * 60_000])
    def test_what_is_no_json_object_is_a_fault_of_this_answer(self, body: bytes) -> None:
        with pytest.raises(StoreError, match="not a JSON object") as caught:
            answered(200, body, content_type="application/json")
        assert not isinstance(caught.value, StoreUnreachable)

    def test_a_page_for_people_is_no_answer(self) -> None:
        with pytest.raises(StoreUnreachable, match="not application/json but 'text/html'"):
            answered(200, b"<html>", content_type="text/html")

    def test_another_peers_answer_is_refused(self) -> None:
        with pytest.raises(StoreError, match="is another's"):
            found(public_key=str(OTHER))

    def test_a_preshared_key_that_was_kept_back_is_missed(self) -> None:
        with pytest.raises(StoreError, match="may read preshared keys"):
            found(has_preshared_key=True)

    def test_a_wrong_field_is_named_and_no_secret_repeated(self) -> None:
        secret = "c2VjcmV0" * 5
        with pytest.raises(StoreError, match="name 'xxx") as caught:
            found(name="x" * 300, preshared_key=secret)
        assert secret not in str(caught.value)

    def test_429_is_the_word_of_a_service_that_is_well(self) -> None:
        with pytest.raises(StoreThrottled) as caught:
            answered(429, b"{}", retry_after="2")
        assert caught.value.retry_after == 2.0

    @pytest.mark.parametrize("text", ['"a"', 'W/"a"', '""', '"' + "x" * 254 + '"'])
    def test_a_tag_is_kept(self, text: str) -> None:
        assert etag({"etag": text}) == text

    @pytest.mark.parametrize("text", ["", "a", '"a', "*", '"a b"', '"\u00e9"', '"a"b"', 'w/"a"', '"' + "x" * 255 + '"'])
    def test_what_cannot_be_sent_back_is_no_tag(self, text: str) -> None:
        assert etag({"etag": text}) is None

    def test_a_compressed_answer_is_told_as_that(self) -> None:
        with pytest.raises(StoreUnreachable, match="Content-Encoding 'gzip'"):
            answered(200, b"\x1f\x8b", content_type="application/json", content_encoding="gzip")

    def test_peace_is_asked_for_in_seconds_or_until_a_date(self) -> None:
        with pytest.raises(StoreUnreachable) as caught:
            answered(503, retry_after="17")
        assert caught.value.retry_after == 17.0
        assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:20:00 GMT"}, 1000.0) == 200.0
        assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 1000.0) == 0.0

    @pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "9" * 11, "\u0663"])
    def test_peace_that_cannot_be_read_is_not_asked_for(self, text: str) -> None:
        assert retry_after({"retry-after": text}, 1000.0) is None

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("", None), ("private", None), ("max-age=60", 60.0), ('MAX-AGE="5"', 5.0), ("max-age=60, no-store", 0.0),
         ("max-age=-1", None), ("max-age=0", 0.0), ("No-Cache, max-age=0, must-revalidate", 0.0),
         ('no-cache="set-cookie"', None), ("max-age=99999999999999", None), ("max-age=\u0663", None),
         ("max-age=x", None), ("s-maxage=9", None)],
    )  # fmt: skip
    def test_the_services_word_on_age(self, text: str, expected: float | None) -> None:
        assert max_age({"cache-control": text}) == expected


class TestBackoff:
    def test_it_doubles_to_its_longest_and_begins_again_after_a_success(self) -> None:
        backoff = Backoff(dice=lambda: 1.0)
        waits = [backoff.failed() for _ in range(10)]
        assert waits == [min(LONGEST, SHORTEST * 2**n) for n in range(10)]
        backoff.succeeded()
        assert backoff.failed() == SHORTEST

    def test_chance_takes_half_at_most(self) -> None:
        assert Backoff(dice=lambda: 0.0).failed() == SHORTEST / 2

    def test_the_service_may_ask_for_more_but_not_for_ever(self) -> None:
        assert Backoff(dice=lambda: 1.0).failed(120.0) == 120.0
        assert Backoff(dice=lambda: 1.0).failed(1e9) == SELDOM
        assert Backoff(dice=lambda: 1.0).failed(0.0) == SHORTEST
