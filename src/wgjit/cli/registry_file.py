"""What all commands on a registry file share: their options, and how they open it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from wgjit.stores.sqlite import SqliteRegistry

DEFAULT_STORE = Path("/var/lib/wgjit/wg0.db")

Store = Annotated[Path, typer.Option("--store", envvar="WGJIT_STORE", help="The registry file.")]
Handle = Annotated[str, typer.Argument(metavar="HANDLE", help="A peer's name or public key.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

_PATIENCE = 5.0
"""Seconds to wait for another program that writes."""


def made(store: Path) -> contextlib.closing[SqliteRegistry]:
    """The registry, made if there is none. Raises StoreError."""
    if store.parent == DEFAULT_STORE.parent:
        with contextlib.suppress(OSError):  # the registry's own error says what to do
            store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return contextlib.closing(SqliteRegistry(store, timeout=_PATIENCE))


def existing(store: Path, *, read_only: bool = False) -> contextlib.closing[SqliteRegistry]:
    """The registry that is there. Raises StoreError."""
    return contextlib.closing(SqliteRegistry(store, create=False, read_only=read_only, timeout=_PATIENCE))


def printable(text: str | None) -> str:
    """A name as a terminal may show it: another program could have written control characters."""
    if text is None:
        return "-"
    return text if text.isprintable() else repr(text)
