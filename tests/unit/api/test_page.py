"""docs/API.md does what it says, and says what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit import pages
from tests.unit.api.conftest import Api
from wgjit.api.problems import Kind

PAGE = Path(__file__).parents[3] / "docs/API.md"
STEPS = pages.steps(PAGE)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return pages.outputs(STEPS, tmp_path_factory.mktemp("page"))


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_a_step_prints_what_the_page_shows(outputs: list[str], number: int) -> None:
    pages.check(STEPS[number], outputs[number])


def test_every_endpoint_is_in_the_table_with_its_scope(api: Api) -> None:
    described = {
        (f"{method.upper()} {path}", operation.get("description", "").rpartition("Scope: ")[2].rstrip("."))
        for path, methods in api.local.get("/v1/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
    }
    rows = set(re.findall(r"^\| `([A-Z]+ /v1\S*)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    assert {(path, "none") if "healthz" in path else (path, scope) for path, scope in described} == rows


def test_every_problem_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(kind.type.rpartition(":")[2], str(kind.status)) for kind in Kind]
