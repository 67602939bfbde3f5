"""The registry's slow side: writing and reading fail apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.contracts.store import claim, key, peer
from tests.fakes.store import FakeRegistry
from wgjit.core.vocabulary.events import ClaimsSaved, RegistryChanged
from wgjit.daemon.faults import Faults
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.registry_watch import RegistryWatch
from wgjit.errors import StoreBusy, StoreDeferred, StoreError
from wgjit.model import PublicKey, Registration


class Watched:
    """A watch of a registry with two peers, both resident, that has had its first round."""

    def __init__(self) -> None:
        self.store = FakeRegistry([peer(1), peer(2)])
        self.metrics = Metrics()
        self.watch = RegistryWatch(self.store, Faults(self.metrics), lambda: {key(1), key(2)})
        self.watch.round()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_revocation_is_followed_while_no_claim_can_be_written(watched: Watched) -> None:
    watched.store.fail(StoreBusy("another process is writing"), "save_claims")
    watched.watch.save(claim(2, 5.0))
    watched.store.replace(replace(peer(1), enabled=False))
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert set(event.found) == {key(1)}
    assert watched.metrics.faults == {"registry": 1}
    watched.store.fail(None)
    assert watched.watch.round() == [ClaimsSaved((claim(2, 5.0),))]


def test_claims_are_written_while_no_change_can_be_read(watched: Watched) -> None:
    watched.store.fail(StoreError("damaged"), "last_change")
    watched.watch.save(claim(2, 5.0))
    assert watched.watch.round() == [ClaimsSaved((claim(2, 5.0),))]
    assert watched.metrics.faults == {"registry": 1}


def test_a_damaged_row_is_told_once_however_many_rounds_it_lasts(watched: Watched) -> None:
    with capture_logs() as log:
        watched.store.replace(replace(peer(1), enabled=False))
        watched.store.fail(StoreError("damaged"), "lookup")
        for _ in range(20):
            assert watched.watch.round() == []
    assert [line["event"] for line in log] == ["fault"]
    assert watched.metrics.faults == {"registry": 20}


def test_lookups_that_always_fail_keep_no_revocation_from_being_followed() -> None:
    """Three fail in each round: those behind them come to their turn all the same."""
    damaged = {key(number) for number in range(1, 6)}

    class Damaged(FakeRegistry):
        def lookup(self, key: PublicKey, *, for_knock: bool = True) -> Registration | None:
            if key in damaged:
                raise StoreError("damaged")
            return super().lookup(key, for_knock=for_knock)

    store = Damaged([peer(number) for number in range(1, 7)])
    everybody = {key(number) for number in range(1, 7)}
    watch = RegistryWatch(store, Faults(Metrics()), lambda: everybody)
    for number in range(1, 7):
        store.replace(replace(peer(number), enabled=False))
    events = [event for _ in range(3) for event in watch.round()]
    found = {found for event in events if isinstance(event, RegistryChanged) for found in event.found}
    assert found == {key(6)}


def test_a_store_that_has_no_request_left_is_asked_in_the_next_round(watched: Watched) -> None:
    watched.store.replace(replace(peer(1), enabled=False))
    watched.store.fail(StoreDeferred("knocks come first"), "lookup")
    assert watched.watch.round() == []
    assert not watched.metrics.faults, "that is no fault"
    watched.store.fail(None)
    (event,) = watched.watch.round()
    assert isinstance(event, RegistryChanged)
    assert set(event.found) == {key(1)}
