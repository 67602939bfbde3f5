"""The documents keep up with the code: what exists is in them, and what they name exists."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from lab import settings_table
from wgjit.cli.shared.application import PLACES
from wgjit.config import Config, load_config
from wgjit.config.environment import OTHERS, VARIABLES
from wgjit.config.layers import SECTIONS
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def settings(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += settings(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def test_the_table_of_settings_is_that_of_the_code() -> None:
    page = settings_table.PAGE.read_text()
    assert page == settings_table.written(page), "run ./dev docs"
    rows = re.findall(r"^\| `(\w+\.\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(settings(Config))


def test_a_default_in_words_is_of_a_setting_that_has_none_of_its_own() -> None:
    for section, name in settings_table.DEFAULTS_IN_WORDS:
        field = SECTIONS[section].model_fields[name]
        assert field.default is None or field.default_factory is socket.gethostname, name


def test_every_setting_has_the_variable_that_the_documents_make_of_its_name() -> None:
    text = (ROOT / "docs/CONFIGURATION.md").read_text()
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \|", text, re.MULTILINE)
    assert "`WGJIT_SECTION_NAME`" in text
    assert {f"WGJIT_{section}_{name}".upper(): (section, name) for section, name in rows} == VARIABLES
    for variable in re.findall(r"WGJIT_[A-Z0-9]+_[A-Z0-9_]+", text):
        assert variable in {*VARIABLES, *OTHERS, "WGJIT_SECTION_NAME"}, variable


def test_the_example_configuration_is_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", "".join(page.read_text() for page in PAGES), re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(example)
        load_config(path)


@pytest.mark.parametrize(("words", "column"), [(list(Refusal), "refusal"), (list(Decision), "decision")])
def test_the_feeds_words_are_documented(words: list[str], column: str) -> None:
    text = (ROOT / "docs/FEED.md").read_text()
    table = text[text.index(f"| {column} |") :].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [str(word) for word in words]


def test_the_feeds_fields_are_documented() -> None:
    text = (ROOT / "docs/FEED.md").read_text()
    table = text[text.index("| field |") :].split("\n\n")[0]
    rows = [word for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)]
    assert rows == list(FeedRecord(None, None, None).as_dict())


def test_every_command_is_in_the_documents() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in PLACES if f"wgjit {name}" not in text] == []


def test_every_dev_command_that_a_page_names_exists() -> None:
    listed = subprocess.run([ROOT / "dev"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  (\w+) ", listed, re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\./dev (\w+)", page.read_text())}
    assert named
    assert named <= known | {"alone"}


# --- a promise names the test that holds it -------------------------------------------------------------------------

PROMISES = [
    ROOT / "docs" / f"{name}.md" for name in ("CONFIRMED", "RELIABILITY", "SECURITY", "FLEET", "LEAVING", "ROUTING")
]
TESTS = ROOT / "tests"
REFERENCE = re.compile(r"`((?:contracts|guest|kernel|postgresql|unit|userspace)/[\w/]+\.py)(?:(?:::…)?::(\w+))?`")
"""A file under tests/, and perhaps one of its tests; an ellipsis stands for the class."""


@pytest.mark.parametrize("page", PROMISES, ids=lambda page: page.name)
def test_every_test_that_a_promise_names_exists(page: Path) -> None:
    references = REFERENCE.findall(page.read_text())
    assert references
    for file, name in references:
        assert (TESTS / file).exists(), file
        if name:
            assert re.search(rf"^ *(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), f"{file}::{name}"


@pytest.mark.parametrize("page", PROMISES, ids=lambda page: page.name)
def test_every_promise_names_its_test(page: Path) -> None:
    tables = [table for table in page.read_text().split("\n\n") if "held by |" in table.partition("\n")[0]]
    assert tables
    for table in tables:
        before = ""
        for row in table.strip().splitlines()[2:]:
            holder = row.rstrip(" |").rpartition(" | ")[2]
            assert REFERENCE.search(holder) or (holder == "the same" and before), row
            before = holder


@pytest.mark.parametrize("page", PROMISES, ids=lambda page: page.name)
def test_every_contract_that_a_promise_names_is_run(page: Path) -> None:
    """A contract is a class in no test file: somebody has to subclass it where tests are collected."""
    run = {
        name
        for folder in ("guest", "kernel", "unit", "userspace")
        for test in (TESTS / folder).rglob("test_*.py")
        for name in re.findall(r"^from tests\.contracts\.(\w+) import ", test.read_text(), re.MULTILINE)
    }
    if "gateway_anywhere" in run:  # includes
        run.add("gateway")
    named = {file for file, _ in REFERENCE.findall(page.read_text()) if file.startswith("contracts/")}
    assert {Path(file).stem for file in named} <= run


def test_no_promise_is_written_in_a_way_that_these_tests_do_not_see() -> None:
    for page in PROMISES:
        text = page.read_text()
        assert len(REFERENCE.findall(text)) == len(re.findall(r"`[^`\s]*\.py[^`]*`", text)) - text.count("`src/"), (
            page.name
        )
