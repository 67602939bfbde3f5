"""A change that is asked for twice is made once, and answered twice."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LAB, LabRegistry
from wgjit.errors import StoreError
from wgjit.model import Peer, PrivateKey
from wgjit.stores.entries import Answer, AnsweredBefore, Author, IdempotentRequest
from wgjit.stores.sqlite import idempotency
from wgjit.stores.sqlite.idempotency import KEPT

FINGERPRINT, OTHER = bytes(32), bytes([1]) * 32


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(tmp_path / "peers.db", timeout=20)) as registry:
        yield registry


def peer(number: int) -> Peer:
    return Peer(PrivateKey.generate().public(), (ipaddress.ip_network(f"10.8.0.{number}/32"),))


def once(key: str = "k", fingerprint: bytes = FINGERPRINT) -> IdempotentRequest:
    return IdempotentRequest(key, fingerprint, lambda entry: (201, str(entry.peer.public_key).encode()))


def test_the_second_time_the_first_answer_comes_and_nothing_else(registry: LabRegistry) -> None:
    first = registry.peers.hand_out(peer(1), {}, by=LAB, once=once())
    with pytest.raises(AnsweredBefore) as caught:
        registry.peers.hand_out(peer(2), {}, by=LAB, once=once())
    assert caught.value.answer == Answer(FINGERPRINT, 201, str(first.public_key).encode())
    assert registry.peers.count() == 1


def test_another_request_with_the_key_can_be_told(registry: LabRegistry) -> None:
    registry.peers.hand_out(peer(1), {}, by=LAB, once=once())
    with pytest.raises(AnsweredBefore) as caught:
        registry.peers.hand_out(peer(2), {}, by=LAB, once=once(fingerprint=OTHER))
    assert caught.value.answer.fingerprint != OTHER


def test_a_key_is_its_actors_own(registry: LabRegistry) -> None:
    registry.peers.hand_out(peer(1), {}, by=LAB, once=once())
    registry.peers.hand_out(peer(2), {}, by=Author("somebody else"), once=once())
    assert registry.peers.count() == 2


def test_a_change_that_fails_leaves_no_answer(registry: LabRegistry) -> None:
    registry.peers.hand_out(peer(1), {}, by=LAB)
    with pytest.raises(StoreError):
        registry.peers.hand_out(peer(1), {}, by=LAB, once=once())  # its address is taken
    registry.peers.hand_out(peer(2), {}, by=LAB, once=once())
    assert registry.peers.count() == 2


def test_rotating_is_done_once_too(registry: LabRegistry) -> None:
    old = registry.peers.hand_out(peer(1), {}, by=LAB).public_key
    new = PrivateKey.generate().public()
    registry.peers.rotate(old, new, by=LAB, once=once())
    with pytest.raises(AnsweredBefore):
        registry.peers.rotate(new, PrivateKey.generate().public(), by=LAB, once=once())
    assert registry.find(str(new)).public_key == new


def test_after_a_day_it_is_forgotten(registry: LabRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.peers.hand_out(peer(1), {}, by=LAB, once=once())
    monkeypatch.setattr(idempotency, "KEPT", 0.0)
    assert registry.answers.find("k", by=LAB) is None
    registry.peers.hand_out(peer(2), {}, by=LAB, once=once("another"))
    with registry._reader as db:
        assert [key for (key,) in db.execute("SELECT key FROM idempotency")] == ["another"]
    assert KEPT == 86400


def test_of_many_at_once_one_makes_it(registry: LabRegistry) -> None:
    outcomes: list[str] = []

    def make(number: int) -> None:
        with contextlib.closing(LabRegistry(registry.path, timeout=20)) as own:
            try:
                own.peers.hand_out(peer(number), {}, by=LAB, once=once())
                outcomes.append("made")
            except AnsweredBefore:
                outcomes.append("answered")

    threads = [threading.Thread(target=make, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["answered"] * 7 + ["made"]
    assert registry.peers.count() == 1
