"""What `wgjit feed` prints for people: a header, aligned lines, and for refusals by a client's clock what to do."""

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from tests.contracts.store import key
from wgjit.cli import feed
from wgjit.cli.feed import line
from wgjit.model import Delivery, Endpoint
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


def printed(monkeypatch: pytest.MonkeyPatch, record: FeedRecord, *, is_terminal: bool, as_json: bool = False) -> str:
    async def source(_interface: str) -> AsyncIterator[FeedRecord]:
        async def records() -> AsyncIterator[FeedRecord]:
            yield record

        return records()

    shown = io.StringIO()
    monkeypatch.setattr(feed, "_source", source)
    monkeypatch.setattr(feed, "_console", Console(file=shown, force_terminal=is_terminal, no_color=True, width=80))
    asyncio.run(feed._follow("wg0", as_json, 1))
    return shown.getvalue()


RECORD = FeedRecord(
    1.0,
    Endpoint.parse("192.0.2.1:4000"),
    None,
    KEY,
    "phone",
    True,
    decision=Decision.RESIDENT,
    delivery=Delivery.HOLD,
    stages={"total": 12.0},
)


def test_a_terminal_gets_a_header_whose_columns_are_those_of_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    header, told = Console(file=io.StringIO()).render_str(feed.header().plain).plain, line(RECORD).plain
    for name, value in {
        "public key": str(KEY),
        "name": "phone",
        "source": "192.0.2.1:4000",
        "proof": "proven",
        "outcome": "resident",
        "delivery": "hold",
        "stages": "total 12 µs",
    }.items():
        assert header.index(name) == told.index(value), name
    output = printed(monkeypatch, RECORD, is_terminal=True)
    assert output.index("public key") < output.index(str(KEY))


@pytest.mark.parametrize("as_json", [False, True])
def test_a_program_gets_none(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    assert "public key" not in printed(monkeypatch, RECORD, is_terminal=as_json, as_json=as_json)
