"""The work of a bulk load on a second core: staging while the next peers are read, sorting addresses during inserts.

SQLite releases Python's lock while it works, so a thread is enough. The load's own connection writes staged peers into
a file, and a second connection reads it. The second connection writes the sorted addresses into another such file. Its
table is declared as the registry's, so SQLite can move the rows unchanged if the registry's table is empty
(https://sqlite.org/src/doc/trunk/src/insert.c, the "transfer optimization").

Both files are unlinked as soon as both connections have them open, so they are gone when the process ends for any
reason. The statements make few allocations a row, because SQLite counts all allocations under one lock.
"""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

CACHE = 180_224
"""KiB for pages, and for rows that are sorted before they are written out; taken as needed. With this size the sorted
runs of 50 million peers are merged in one pass, since there are 16 runs at most."""

_STAGED = """
CREATE TABLE staged.plain
    (line INTEGER PRIMARY KEY, record BLOB NOT NULL CHECK (length(record) = 38), unlabelled NOT NULL)"""

_SORT = """
INSERT INTO sorted.addresses (first, last, public_key)
    SELECT substr(record, 33, 5), NULL, substr(record, 1, 32) FROM staged.plain ORDER BY 1, 3"""

_DECLARED = "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = 'addresses'"


def temporary_folder() -> Path:
    """The folder for SQLite's and a load's temporary files (https://sqlite.org/tempfiles.html, section 5)."""
    asked = [os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR")]
    for folder in (*asked, "/var/tmp", "/usr/tmp", "/tmp"):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return Path(".")


class Aside:
    """See the head of this file. `db` is the load's own connection. One thread calls this.

    Between `run` or `sort` and the next `settle` the caller must not use `db`, unless the method's text allows it.
    `settle`, and the methods that call it, raise sqlite3.Error.
    """

    def __init__(self, db: sqlite3.Connection, cache: int = CACHE) -> None:
        self._db = db
        self._second = sqlite3.connect("", uri=True, isolation_level=None, check_same_thread=False)
        self._thread = ThreadPoolExecutor(1, "wgjit-bulk-load")
        self._pending: Future[object] | None = None
        self._is_sorted = False
        try:
            self._second.execute(f"PRAGMA cache_size = -{cache}")
            self._share("staged", self._db, self._second, _STAGED)
        except BaseException:
            self.close()
            raise

    def run(self, statement: str, parameters: tuple[Any, ...]) -> None:
        """Run a statement on the load's connection after the last statement has ended."""
        self.settle()
        self._pending = self._thread.submit(self._db.execute, statement, parameters)

    def settle(self) -> None:
        """Wait until nothing runs. Raises the error of what ran."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def sort(self) -> None:
        """Begin to fill `sorted.addresses` from `staged.plain`.

        The caller may use the load's connection meanwhile. Its table is filled after the next `settle`. Call this
        inside a transaction: BEGIN IMMEDIATE locks all attached files, so after `sort` it would keep the table from
        being written.
        """
        self.settle()
        (declared,) = self._db.execute(_DECLARED).fetchone()
        table = declared.replace("CREATE TABLE addresses", "CREATE TABLE sorted.addresses", 1)
        self._is_sorted = True
        self._share("sorted", self._second, self._db, table)
        # Its checks hold anyway: a record has 38 bytes, which is checked, so these parts have 5 and 32 bytes.
        self._second.execute("PRAGMA ignore_check_constraints = 1")
        self._pending = self._thread.submit(self._second.execute, _SORT)

    def stop(self) -> None:
        """End what runs, and ignore its errors."""
        if self._pending is not None and not self._pending.done():
            self._second.interrupt()
        with suppress(sqlite3.Error):
            self.settle()

    def forget_sorted(self) -> None:
        """Drop `sorted.addresses`, outside of a transaction."""
        self.stop()
        if self._is_sorted:
            self._db.execute("DETACH sorted")
            self._second.execute("DETACH sorted")
            self._is_sorted = False

    def forget(self) -> None:
        """Drop all that is staged or sorted, outside of a transaction. A new file costs less than emptying one."""
        self.forget_sorted()
        self._second.execute("DETACH staged")
        self._db.execute("DETACH staged")
        self._share("staged", self._db, self._second, _STAGED)

    def close(self) -> None:
        """End what runs. Call this before the load's connection is closed."""
        self.stop()
        self._thread.shutdown()
        self._second.close()

    def _share(self, name: str, writer: sqlite3.Connection, reader: sqlite3.Connection, table: str) -> None:
        """Attach a new file with a table to both connections. The file is unlinked when this returns."""
        with TemporaryDirectory(prefix="wgjit-", dir=temporary_folder()) as folder:
            file = f"file:{quote(os.path.abspath(folder))}/{name}"
            writer.execute(f"ATTACH ? AS {name}", (file,))
            for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -8192", "secure_delete = OFF"):
                writer.execute(f"PRAGMA {name}.{pragma}")
            writer.execute(table)
            reader.execute(f"ATTACH ? AS {name}", (f"{file}?mode=ro",))
            # This opens the file and reads which tables it has. Reading a table would hold a lock until the transaction
            # ends.
            reader.execute(f"PRAGMA {name}.cache_size = -8192")
