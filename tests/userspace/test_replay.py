"""Replay on this host."""

from collections.abc import Iterator

import pytest

from lab.netns import Lab
from tests.contracts.replay import ReplayContract
from tests.contracts.site import Site


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab)
    yield made
    made.close()


class TestReplay(ReplayContract):
    pass
