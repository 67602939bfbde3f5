"""The migration scripts that a package brings with it: files `migrations/NNNN_*.sql`. Applied ones never change."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from wgjit.errors import StoreError


@cache
def scripts(package: str) -> tuple[str, ...]:
    """The SQL of every migration. Number n is at index n - 1. Raises StoreError if one is missing."""
    found = sorted(
        (f for f in files(package).joinpath("migrations").iterdir() if f.name.endswith(".sql")), key=lambda f: f.name
    )
    numbers = [int(script.name[:4]) for script in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise StoreError(f"the installed wgjit is incomplete: its migrations are {numbers}; install it again")
    return tuple(script.read_text("utf-8") for script in found)
