"""The house: no package is larger than a reader can hold, and each tells at its head what is in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import wgjit

ROOT = Path(wgjit.__file__).parent
MOST = 14
"""Modules that lie flat in a package: about a dozen."""

PACKAGES = sorted(path.parent for path in ROOT.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT.parent)))
def test_a_package_names_all_that_is_in_it_and_is_not_too_large(package: Path) -> None:
    modules = {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    inside = modules | {path.parent.name for path in package.glob("*/__init__.py")}
    head = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert {name for name in inside if f"`{name}`" not in head} == set()
    assert len(modules) <= MOST
