"""What a bulk load does on a second core: staging while the next peers are read, sorting addresses while peers go in.

SQLite lets go of Python's lock while it works, so a thread is enough. What is staged lies in a file that the load's own
connection writes and a second connection reads. The second one writes the sorted addresses into another such file, into
a table that is declared as the registry's: SQLite then moves its rows over as they lie, if the registry's is empty
(https://sqlite.org/src/doc/trunk/src/insert.c, the "transfer optimization").

Both files lose their names as soon as both connections have them open: whatever ends the process, they are gone with
it. Statements are written to take few allocations a row, since SQLite counts all of them under one lock.
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
"""KiB, taken as needed: of pages, and of rows that are sorted before they are written out. So
many that the runs of 50 million peers are merged in one pass, of 16 runs at most."""

_STAGED = """
CREATE TABLE staged.plain
    (line INTEGER PRIMARY KEY, record BLOB NOT NULL CHECK (length(record) = 38), unlabelled NOT NULL)"""

_SORT = """
INSERT INTO sorted.addresses (first, last, public_key)
    SELECT substr(record, 33, 5), NULL, substr(record, 1, 32) FROM staged.plain ORDER BY 1, 3"""

_DECLARED = "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = 'addresses'"


def temporary_folder() -> Path:
    """Where SQLite puts its temporary files, and a load its own (https://sqlite.org/tempfiles.html, section 5)."""
    asked = [os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR")]
    for folder in (*asked, "/var/tmp", "/usr/tmp", "/tmp"):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return Path(".")


class Aside:
    """See the head of this file. `db`: the load's own connection; where nothing else is said, it is not to be used
    between `run` or `sort` and the next `settle`.

    The caller's thread is one; sqlite3.Error comes out of `settle` and what calls it.
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
        """Run a statement on the load's connection, once the last one is through."""
        self.settle()
        self._pending = self._thread.submit(self._db.execute, statement, parameters)

    def settle(self) -> None:
        """Wait until nothing runs. Raises what went wrong."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def sort(self) -> None:
        """Begin to fill `sorted.addresses` from `staged.plain`.

        The load's connection may be used meanwhile, and has the table when this has settled. Call it inside of a
        transaction: BEGIN IMMEDIATE takes a lock on all that is attached, so that this could not be written.
        """
        self.settle()
        (declared,) = self._db.execute(_DECLARED).fetchone()
        table = declared.replace("CREATE TABLE addresses", "CREATE TABLE sorted.addresses", 1)
        self._is_sorted = True
        self._share("sorted", self._second, self._db, table)
        # Its checks hold: of a record of 38 bytes, which is checked, these parts are 5 and 32 bytes.
        self._second.execute("PRAGMA ignore_check_constraints = 1")
        self._pending = self._thread.submit(self._second.execute, _SORT)

    def stop(self) -> None:
        """End what runs. Whether it went wrong is of no interest any more."""
        if self._pending is not None and not self._pending.done():
            self._second.interrupt()
        with suppress(sqlite3.Error):
            self.settle()

    def forget_sorted(self) -> None:
        """Give `sorted.addresses` up, outside of a transaction."""
        self.stop()
        if self._is_sorted:
            self._db.execute("DETACH sorted")
            self._second.execute("DETACH sorted")
            self._is_sorted = False

    def forget(self) -> None:
        """Give up all that is staged or sorted, outside of a transaction. A new file is cheaper than to empty this."""
        self.forget_sorted()
        self._second.execute("DETACH staged")
        self._db.execute("DETACH staged")
        self._share("staged", self._db, self._second, _STAGED)

    def close(self) -> None:
        """End what runs; before the load's connection is closed."""
        self.stop()
        self._thread.shutdown()
        self._second.close()

    def _share(self, name: str, writer: sqlite3.Connection, reader: sqlite3.Connection, table: str) -> None:
        """Attach a new file with a table to both connections. When this returns it has no name any more."""
        with TemporaryDirectory(prefix="wgjit-", dir=temporary_folder()) as folder:
            file = f"file:{quote(os.path.abspath(folder))}/{name}"
            writer.execute(f"ATTACH ? AS {name}", (file,))
            for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -8192", "secure_delete = OFF"):
                writer.execute(f"PRAGMA {name}.{pragma}")
            writer.execute(table)
            reader.execute(f"ATTACH ? AS {name}", (f"{file}?mode=ro",))
            # Opens the file and reads what tables it has. To read one would hold a lock until the transaction ends.
            reader.execute(f"PRAGMA {name}.cache_size = -8192")
