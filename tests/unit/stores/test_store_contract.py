"""The contract of a registry, over the real one and the fake."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import PeoplesRegistryContract, StoreContract, key, peer
from tests.fakes.store import FakeRegistry
from wgjit.errors import StoreBusy, StoreError


class TestLabRegistry(PeoplesRegistryContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> Iterator[LabRegistry]:
        registry = LabRegistry(tmp_path / "registry.db")
        yield registry
        registry.close()


class TestFakeRegistry(StoreContract):
    @pytest.fixture
    def registry(self) -> FakeRegistry:
        return FakeRegistry()


def test_the_fake_fails_and_heals_as_told() -> None:
    seen: list[str] = []
    fake = FakeRegistry([peer(1)])
    fake.on_call = seen.append
    fake.fail(StoreError("down"), "lookup")
    with pytest.raises(StoreError, match="down"):
        fake.lookup(key(1))
    assert fake.last_change() == 0
    fake.fail(StoreBusy("locked"))
    with pytest.raises(StoreBusy):
        fake.last_change()
    fake.fail(None)
    assert fake.lookup(key(1)) is not None
    assert seen == ["lookup", "last_change", "last_change", "lookup"]
