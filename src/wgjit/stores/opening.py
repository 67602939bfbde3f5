"""Where a registry is, and how it is opened there: the one place that knows which kinds of registries there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wgjit.stores.base import Registry
from wgjit.stores.entries import Pool
from wgjit.stores.sqlite.registry import SqliteRegistry


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a registry, as a configuration or an option gives it: the path of a file."""

    place: str

    def __str__(self) -> str:
        return self.place

    @classmethod
    def of_file(cls, path: Path) -> Where:
        """The registry in this file."""
        return cls(str(path))


def open_registry(
    where: Where,
    *,
    pools: Sequence[Pool] = (),
    create: bool = False,
    read_only: bool = False,
    timeout: float = 5.0,
    cache: int | None = None,
) -> Registry:
    """Open the registry that is there, or with `create` make a missing one; an old one is migrated. Raises StoreError.

    `pools`: those whose freed addresses are to wait out their quarantine. `read_only` changes nothing at all.
    `timeout`, seconds: how long a call may wait for another program that writes. `cache`: KiB of memory for each of
    its connections, or as many as is usual.
    """
    more = {} if cache is None else {"cache": cache}
    return SqliteRegistry(where.place, pools=pools, create=create, read_only=read_only, timeout=timeout, **more)
