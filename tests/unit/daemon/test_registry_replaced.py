"""Another registry's file comes into the place of the one that a gateway follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.contracts.store import claim, key, peer
from tests.fakes.store import FakeRegistry
from tests.unit.daemon.test_registry_watch import Watched
from wgjit.core.vocabulary.events import RegistryChanged
from wgjit.errors import StoreError
from wgjit.model import Peer, Registration


def changed(peers: list[Peer], times: int) -> FakeRegistry:
    """Another registry, whose log has so many changes of its first peer."""
    other = FakeRegistry(peers)
    for _ in range(times):
        other.replace(peers[0])
    return other


@pytest.fixture
def watched() -> Watched:
    watched = Watched()
    for _ in range(3):
        watched.store.replace(peer(1))
    watched.watch.round()
    return watched


@pytest.mark.parametrize("times", [0, 2, 3, 4, 40])
def test_all_residents_are_looked_up_whatever_its_log_says(watched: Watched, times: int) -> None:
    """A shorter log, one as long, a longer one."""
    watched.store.put_in_place(changed([peer(2, name="new")], times))
    (event,) = watched.watch.round()
    assert event == RegistryChanged({key(1): None, key(2): Registration(peer(2, name="new"))}, True, replaced=True)
    assert watched.watch.round() == []
    watched.store.replace(peer(2))
    (event,) = watched.watch.round()
    assert event == RegistryChanged({key(2): Registration(peer(2))}), "its log is followed from there on"


def test_whom_the_new_one_has_removed_is_told(watched: Watched) -> None:
    other = changed([peer(2), peer(1)], 5)
    other.remove(key(1))
    watched.store.put_in_place(other)
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert event.removed == {key(1)}


@pytest.mark.parametrize("times", [2, 4, 40])
def test_an_older_copy_of_itself_is_another_though_it_has_grown_since(watched: Watched, times: int) -> None:
    """Restored in place: the same number, the same file; its log has another entry where the last one was."""
    other = changed([peer(2), peer(1)], times)
    other._identity = watched.store._identity
    watched.store.put_in_place(other)
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert event.replaced
    assert set(event.found) == {key(1), key(2)}


def test_it_is_told_once_and_what_to_know_about_it(watched: Watched) -> None:
    watched.store.put_in_place(changed([peer(2)], 40))
    with capture_logs() as log:
        for _ in range(3):
            watched.watch.round()
    assert [line["event"] for line in log] == [
        "another registry is in the old one's place: all residents are looked up in it"
    ]


def test_a_file_that_comes_between_two_questions_of_a_round_answers_neither(watched: Watched) -> None:
    watched.store.replace(replace(peer(1), enabled=False))
    before = watched.store.calls.count("lookup")

    def swap(method: str) -> None:
        if method == "lookup" and watched.store.calls.count("lookup") == before + 1:
            watched.store.put_in_place(changed([peer(1)], 40))

    watched.store.on_call = swap
    assert watched.watch.round() == []
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert event.replaced
    assert event.found == {key(1): Registration(peer(1)), key(2): None}


def test_what_cannot_be_looked_up_at_once_is_later_and_still_as_in_another(watched: Watched) -> None:
    """A change in the new one does not make it forget that the claims went with the old one."""
    watched.store.put_in_place(changed([peer(1), peer(2)], 40))
    watched.store.fail(StoreError("damaged"), "lookup")
    assert watched.watch.round() == []
    watched.store.fail(None)
    watched.store.replace(peer(1))
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert event.replaced
    assert set(event.found) == {key(1), key(2)}


def test_the_first_round_is_no_replacement(watched: Watched) -> None:
    events = Watched().watch.round()
    assert not any(isinstance(event, RegistryChanged) and event.replaced for event in events)


def test_a_claim_that_waits_goes_into_the_new_one(watched: Watched) -> None:
    watched.watch.save(claim(2, 5.0))
    watched.store.put_in_place(changed([peer(2)], 40))
    watched.watch.round()
    found = watched.store.lookup(key(2))
    assert found is not None
    assert found.claim == claim(2, 5.0)
