"""docs/TUTORIAL.md does what it says with its registry in PostgreSQL, too: one line of its configuration differs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.postgresql import Cluster
from tests.unit import pages
from tests.unit.test_tutorial import STEPS

FILE = 'path = "wg0.db"'


@pytest.fixture(scope="module")
def steps(cluster: Cluster, template: str) -> Iterator[list[pages.Step]]:
    with cluster.database(template) as name:
        url = f'url = "{cluster.url(name)}"'
        assert FILE in STEPS[0][0]
        yield [(commands.replace(FILE, url), shown) for commands, shown in STEPS]


@pytest.fixture(scope="module")
def outputs(steps: list[pages.Step], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each step printed, on both streams."""
    return pages.outputs(steps, tmp_path_factory.mktemp("tutorial"))


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step_prints_what_the_page_shows(outputs: list[str], number: int) -> None:
    pages.check(STEPS[number], outputs[number])
