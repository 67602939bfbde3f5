"""A line of `wgjit feed`: the refusals that a client's clock may cause say what an operator can do."""

import pytest

from tests.contracts.store import key
from wgjit.cli.feed import line
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal

KEY = key(1)
HINTS = {
    Refusal.STALE: f"stale: older than its claim; if this client's clock was set back: wgjit claim reset {KEY}",
    Refusal.FUTURE: "future: this client's clock, or the gateway's, is wrong; or raise gateway.max_clock_skew",
}


@pytest.mark.parametrize("refusal", [None, *Refusal])
def test_a_hint_where_the_clock_may_be_wrong_and_nowhere_else(refusal: Refusal | None) -> None:
    decision = Decision.INSTALLED if refusal is None else Decision.REFUSED
    record = FeedRecord(1.0, None, None, KEY, decision=decision, refusal=refusal, stages={"total": 12.0})
    text = line(record).plain
    assert "\n" not in text
    assert [hint for hint in HINTS.values() if hint in text] == [
        HINTS[r] for r in Refusal if r is refusal and r in HINTS
    ]
    if refusal in HINTS:
        assert text.endswith(f"total 12 µs  {HINTS[refusal]}")
    assert "claim reset" not in str(record.as_dict())
