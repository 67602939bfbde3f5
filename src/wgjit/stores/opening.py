"""Opens a registry at a given place. No other module knows which kinds of registries there are."""

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
    """Open the registry at this place; an old one is migrated. With `create` a missing one is made. Raises StoreError.

    `pools`: the pools whose freed addresses go into quarantine. `read_only` changes nothing at all. `timeout`, seconds:
    how long a call may wait for another program that writes. `cache`: KiB of memory for each connection; None is the
    usual size.
    """
    more = {} if cache is None else {"cache": cache}
    return SqliteRegistry(where.place, pools=pools, create=create, read_only=read_only, timeout=timeout, **more)
