"""The registry's slow side: writing and reading fail apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.contracts.store import claim, key, peer
from tests.fakes.store import FakeRegistry
from wgjit.core.vocabulary import ClaimsSaved, RegistryChanged
from wgjit.daemon.faults import Faults
from wgjit.daemon.metrics import Metrics
from wgjit.daemon.registry_watch import RegistryWatch
from wgjit.errors import StoreBusy, StoreError


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
