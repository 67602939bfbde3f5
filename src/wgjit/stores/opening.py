"""Opens a registry at a given place. No other module knows which kinds of registries there are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from wgjit.database_url import DatabaseUrl, is_database_url
from wgjit.errors import InvalidValue
from wgjit.stores.base import Registry
from wgjit.stores.copying.copy import Progress, copy
from wgjit.stores.copying.file import FileSource, FileTarget
from wgjit.stores.copying.tables import Source, Table, Target
from wgjit.stores.entries import Pool
from wgjit.stores.sqlite.file.schema import prepare
from wgjit.stores.sqlite.registry import SqliteRegistry


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a registry, as a configuration or an option gives it: the path of a file, or a postgresql:// URL.

    A URL may hold a password, so the text form leaves it out. Only `open_registry` reads the place of a URL.
    """

    place: str = field(repr=False)

    def __str__(self) -> str:
        if not self.is_database:
            return self.place
        try:
            return str(DatabaseUrl(self.place))
        except InvalidValue:
            return "postgresql:"

    @property
    def is_database(self) -> bool:
        """Whether the place is a URL of PostgreSQL."""
        return is_database_url(self.place)

    @classmethod
    def of_file(cls, path: Path) -> Where:
        """The registry in this file."""
        return cls(str(path))

    @classmethod
    def of_url(cls, url: DatabaseUrl) -> Where:
        """The registry in this database."""
        return cls(url.reveal())


def open_registry(
    where: Where,
    *,
    pools: Sequence[Pool] = (),
    create: bool = False,
    read_only: bool = False,
    timeout: float = 5.0,
    patience: float | None = None,
    cache: int | None = None,
) -> Registry:
    """Open the registry at this place. Raises StoreError, InvalidValue for a malformed URL.

    A file of an older schema is migrated, and with `create` a missing file is made. A database is neither made nor
    migrated: `make_registry` does that. `pools`: the pools whose freed addresses go into quarantine. `read_only`
    changes nothing at all. `timeout`, seconds: how long a call may wait for another program that writes. `patience`,
    seconds: how long it may wait for a database's answer to one statement, except in an import; None is for ever.
    `cache`: KiB of memory for each connection to a file; None is the usual size.
    """
    if where.is_database:
        # The driver takes some 0.1 s to import, and most gateways work on a file.
        from wgjit.stores.postgresql.registry import PostgresRegistry

        url = DatabaseUrl(where.place)
        return PostgresRegistry(url, pools=pools, read_only=read_only, timeout=timeout, patience=patience)
    more = {} if cache is None else {"cache": cache}
    return SqliteRegistry(where.place, pools=pools, create=create, read_only=read_only, timeout=timeout, **more)


def make_registry(where: Where) -> bool:
    """Make the registry at this place, or migrate an older one. Returns False if it has the present schema already.

    Raises StoreError, InvalidValue for a malformed URL.
    """
    if where.is_database:
        from wgjit.stores.postgresql.database import schema

        return schema.init(DatabaseUrl(where.place))
    existed = Path(where.place).exists()
    SqliteRegistry(where.place, create=True).close()
    return not existed


def migrate_registry(where: Where) -> bool:
    """Bring the registry at this place to the present schema. Returns False if it has that already.

    Raises StoreMissing for a missing file, StoreError, InvalidValue for a malformed URL.
    """
    if where.is_database:
        from wgjit.stores.postgresql.database import schema

        return schema.migrate(DatabaseUrl(where.place))
    return prepare(Path(where.place), create=False, read_only=False)


def copy_registry(source: Where, target: Where, progress: Progress) -> tuple[dict[Table, int], bool]:
    """Copy a whole registry into an empty one, which is made if there is none, or go on with such a copy.

    Returns the number of rows of each table, and whether the source has changed meanwhile, which the copy has not.
    Raises StoreError, InvalidValue for a malformed URL.
    """
    with closing(_source(source)) as from_, closing(_target(target)) as to:
        counts = copy(from_, to, progress)
        return counts, from_.has_changed()


def _source(where: Where) -> Source:
    if not where.is_database:
        return FileSource(Path(where.place))
    from wgjit.stores.copying.database import DatabaseSource

    return DatabaseSource(DatabaseUrl(where.place))


def _target(where: Where) -> Target:
    if not where.is_database:
        return FileTarget(Path(where.place))
    make_registry(where)
    from wgjit.stores.copying.database import DatabaseTarget

    return DatabaseTarget(DatabaseUrl(where.place))
