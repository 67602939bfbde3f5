"""Tests of a unit's folder, to run over PostgreSQL as well: the same functions, with other fixtures."""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType
from typing import Any

from _pytest.fixtures import FixtureFunctionDefinition


def taken(module: ModuleType, but: Collection[str] = ()) -> dict[str, Any]:
    """The tests of a module by name, but for those that are `but` of the file's own, and its fixtures.

    A test's name begins with its module's, since modules may have tests of one name. Raises KeyError if a name in
    `but` is no test of the module.
    """
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    for name in but:
        del tests[name]
    its = module.__name__.rpartition(".")[2]
    fixtures = {name: value for name, value in vars(module).items() if isinstance(value, FixtureFunctionDefinition)}
    return fixtures | {f"{its}_{name.removeprefix('test_')}": value for name, value in tests.items()}
