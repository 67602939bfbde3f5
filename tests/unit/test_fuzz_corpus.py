"""Every committed input of every fuzzer, run through the fuzzer's own check: what once broke stays mended."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from fuzz import FUZZERS, corpus
from fuzz.corpus import Input, load, save


def test_each_fuzzer_has_a_corpus_and_states_its_invariant() -> None:
    assert {path.stem for path in (Path(corpus.__file__).parent / "corpus").iterdir()} == set(FUZZERS)
    for name in FUZZERS:
        assert importlib.import_module(f"fuzz.{name}").__doc__.startswith("Invariant: ")


@pytest.mark.parametrize("name", FUZZERS)
def test_the_invariant_holds_for_the_whole_corpus(name: str) -> None:
    check = importlib.import_module(f"fuzz.{name}").check
    inputs = load(name)
    assert any(one.about for one in inputs)
    for one in inputs:
        try:
            check(one.data)
        except BaseException as error:
            error.add_note(f"./dev fuzz {name} --input {one.data.hex()}  # {one.about}")
            raise


def test_a_corpus_is_written_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_FOLDER", tmp_path)
    inputs = [Input(b"later", "named\non two lines"), Input(b"", "empty"), Input(b"a"), Input(b"bb")]
    save("some", reversed(inputs))
    assert load("some") == [Input(b"", "empty"), Input(b"later", "named\non two lines"), Input(b"a"), Input(b"bb")]
