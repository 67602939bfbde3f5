"""What the remote store makes of headers and states of a service that are odd, absurd or hostile.

Rounds of the store are counted, not seconds: each asks once who matters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lab.registry_service import wait_until
from tests.unit.stores.scripted_service import ScriptedService, peers
from wgjit.config import load_config
from wgjit.daemon.open_store import open_store
from wgjit.errors import StoreError
from wgjit.model import Peer, PublicKey
from wgjit.stores.remote import events as remote_events
from wgjit.stores.remote import store as remote
from wgjit.stores.remote.cache import AnswerCache
from wgjit.stores.remote.store import RemoteStore

ROUNDS = 20
"""So many of the store's rounds are watched: a resident that costs one request each is found out at once."""

Open = Callable[..., RemoteStore]


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with ScriptedService().running() as service:
        yield service


@pytest.fixture
def opened(service: ScriptedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens stores that ask the service; their rounds follow each other quickly."""
    monkeypatch.setattr(remote, "ROUND", 0.01)
    monkeypatch.setattr(remote_events, "SHORTEST", 0.01)
    stores: list[RemoteStore] = []

    def open_(**settings: object) -> RemoteStore:
        lines = "".join(f"{name} = {str(value).lower()}\n" for name, value in ({"timeout": 3.0} | settings).items())
        path = tmp_path / "gateway.toml"
        path.write_text(
            f'[gateway]\nhold_deadline = 4\n[store]\nurl = "{service.url}"\npath = "{tmp_path}/answers.db"\n{lines}'
        )
        store = open_store("wg0", load_config(path))
        assert isinstance(store, RemoteStore)
        stores.append(store)
        return store

    yield open_
    for store in stores:
        store.close()


class Residents:
    """Who matters to a store; counts its rounds."""

    def __init__(self, store: RemoteStore, some: list[Peer]) -> None:
        self._keys = {peer.public_key for peer in some}
        self.rounds = 0
        store.keep_fresh(self)

    def __call__(self) -> set[PublicKey]:
        self.rounds += 1
        return self._keys

    def stay(self, rounds: int = ROUNDS) -> None:
        """Until the store has had so many rounds more."""
        end = self.rounds + rounds
        wait_until(lambda: self.rounds > end, 60)


def following(store: RemoteStore) -> bool:
    return bool(store.figures()["following"] == "yes")


HEADERS = [
    "no-store", "no-cache", "private, no-store", "no-cache, no-store, max-age=0, must-revalidate", "max-age=0",
    'max-age="0"', "max-age=1", "max-age=-1", "max-age=99999999999999999999", "max-age=", "private", "",
    ", ,=,max-age", "s-maxage=0", "proxy-revalidate, must-understand",
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("follow", [True, False])
def test_no_header_makes_residents_cost_requests(
    service: ScriptedService, opened: Open, header: str, follow: bool
) -> None:
    residents = peers(10)
    service.register(*residents)
    service.headers = {"Cache-Control": header, "Expires": "0", "Pragma": "no-cache", "Age": "86400"}
    store = opened(follow=follow)
    if follow:
        wait_until(lambda: following(store))
    here = Residents(store, residents)
    for peer in residents:
        assert store.lookup(peer.public_key) is not None
    here.stay()
    assert len(service.asked) == len(residents)
    for peer in residents:
        assert store.lookup(peer.public_key) is not None
    assert len(service.asked) == len(residents), "nor do knocks of those who are known"


def test_an_answer_that_cannot_be_used_is_not_asked_for_each_second(service: ScriptedService, opened: Open) -> None:
    residents = peers(3)
    service.register(*residents)
    store = opened()
    wait_until(lambda: following(store))
    for peer in residents:
        assert store.lookup(peer.public_key) is not None
    service.fields = {"has_preshared_key": True}  # and does not tell it
    here = Residents(store, residents)
    service.tell("reset", 1)
    wait_until(lambda: len(service.asked) > len(residents))
    here.stay(30)
    for _ in range(30):
        with pytest.raises(StoreError, match="preshared_key"):
            store.lookup(residents[0].public_key, for_knock=False)
    assert len(service.asked) <= 2 * len(residents)
    service.fields = {}
    service.tell("updated", 2, public_key=str(residents[0].public_key))
    wait_until(lambda: len(service.questions(residents[0])) == 3)  # an event is reason enough


def test_asking_again_for_many_leaves_room_for_knocks(service: ScriptedService, opened: Open) -> None:
    residents, knocking = peers(100), peers(101)[100:]
    service.register(*residents, *knocking)
    store = opened()
    wait_until(lambda: following(store))
    for peer in residents:
        assert store.lookup(peer.public_key) is not None
    here = Residents(store, residents)
    service.held = {str(peer.public_key) for peer in residents}
    service.tell("reset", 1)
    wait_until(lambda: service.waiting.total() > 0)
    here.stay(2)
    assert store.lookup(knocking[0].public_key) is not None
    assert service.waiting.total() < 32
    service.let_go.set()
    wait_until(lambda: set(service.waiting) == service.held)  # each comes to its turn, those in front once


def test_a_service_that_allows_less_is_asked_less_and_is_not_down(service: ScriptedService, opened: Open) -> None:
    (peer,) = peers(1)
    service.register(peer)
    store = opened(follow=False)
    service.refusal = 429, {"Retry-After": "1"}
    with capture_logs() as told:
        for _ in range(50):
            with pytest.raises(StoreError):
                store.lookup(peer.public_key)
    assert len(service.asked) < 5, "it is given the peace that it asks for"
    assert store.figures()["reachable"]
    assert store.figures()["throttled"] == len(service.asked)
    assert [line["log_level"] for line in told] == ["warning"]
    assert "fewer requests" in told[0]["event"]
    service.refusal = None

    def known() -> bool:
        try:
            return store.lookup(peer.public_key) is not None
        except StoreError:
            return False

    wait_until(known)


def test_a_stream_that_is_not_found_any_more_is_asked_for_again_soon(service: ScriptedService, opened: Open) -> None:
    store = opened()
    wait_until(lambda: following(store))
    service.stream_status = 404  # a proxy whose service is being exchanged
    service.end_streams()
    wait_until(lambda: service.streams_asked >= 3)
    assert store.figures()["following"] == "broken"
    service.stream_status = 200
    wait_until(lambda: following(store))


def test_a_clock_that_was_set_back_does_not_make_all_answers_old(
    service: ScriptedService, opened: Open, tmp_path: Path
) -> None:
    """A mark from before the step lies in the future, until the clock is there again."""
    cache = AnswerCache(tmp_path / "answers.db", service.url)
    cache.remember("not_before", repr(time.time() + 1e6))
    cache.close()
    (peer,) = peers(1)
    service.register(peer)
    store = opened(follow=False)
    for _ in range(5):
        assert store.lookup(peer.public_key) is not None
    assert len(service.asked) == 1


@pytest.mark.parametrize("tag", ['"' + "x" * 5000 + '"', '"\xe9"', "no quotes", '"a b"'])
def test_a_tag_that_is_none_is_not_sent_back(service: ScriptedService, opened: Open, tag: str) -> None:
    (peer,) = peers(1)
    service.register(peer)
    service.headers = {"ETag": tag}
    store = opened()
    wait_until(lambda: following(store))
    assert store.lookup(peer.public_key) is not None
    before = store.last_change()
    service.tell("updated", 1, public_key=str(peer.public_key))
    wait_until(lambda: store.last_change() > before)
    assert store.lookup(peer.public_key) is not None
    assert ["if-none-match" in headers for headers in service.questions(peer)] == [False, False]


def test_a_question_is_for_the_service_itself(service: ScriptedService, opened: Open) -> None:
    (peer,) = peers(1)
    service.register(peer)
    service.headers = {"ETag": 'W/"7"'}
    store = opened()
    wait_until(lambda: following(store))
    assert store.lookup(peer.public_key) is not None
    before = store.last_change()
    service.tell("updated", 1, public_key=str(peer.public_key))
    wait_until(lambda: store.last_change() > before)
    assert store.lookup(peer.public_key) is not None
    first, second = service.questions(peer)
    assert first["cache-control"] == second["cache-control"] == "no-cache"
    assert second["if-none-match"] == 'W/"7"'


def test_a_compressed_answer_says_what_to_turn_off(service: ScriptedService, opened: Open) -> None:
    (peer,) = peers(1)
    service.register(peer)
    service.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(StoreError, match="compression"):
        opened(follow=False).lookup(peer.public_key)
