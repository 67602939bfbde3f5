"""The commands on a registry in PostgreSQL: WGJIT_STORE names the test's own database."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import run, two, wgjit

__all__ = ["run", "store", "two", "wgjit"]


@pytest.fixture
def store(emptied_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WGJIT_STORE", emptied_url)
    return emptied_url
