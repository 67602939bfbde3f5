"""A pgbouncer of the lab's own before a server of `lab.postgresql`: in transaction mode, ended and deleted at the end.

    with Cluster() as cluster, PgBouncer(cluster) as bouncer:
        psycopg.connect(bouncer.url())

Each transaction of a client may get another connection to the server, as few as `size`, which it shares with all other
clients. So whatever a client leaves in a session is noticed: by itself, if it misses it, or by the others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg

from lab.postgresql import ACCOUNT, Cluster, as_account, give

_PORT = 6432
_PATIENCE = 60.0
"""Seconds that it gets to begin or to end."""


def program() -> str:
    """The path of pgbouncer. Raises FileNotFoundError if it is not installed."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise FileNotFoundError("pgbouncer is not installed; apt-get install pgbouncer")
    return found


class PgBouncer:
    """See the head of this file. `size`: connections to the server for each database and user. `users` may log in."""

    def __init__(self, cluster: Cluster, *, size: int = 2, users: Iterable[str] = (ACCOUNT,)) -> None:
        self._cluster = cluster
        self._size = size
        self._users = tuple(users)
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wgjit-pgb-")))
            (self.folder / "users").write_text("".join(f'"{user}" ""\n' for user in self._users))
            (self.folder / "pgbouncer.ini").write_text(self._settings())
            give(self.folder, *self.folder.iterdir())
            stack.callback(self.stop)
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _settings(self) -> str:
        return (
            f"[databases]\n* = host={self._cluster.folder}\n[pgbouncer]\npool_mode = transaction\n"
            f"listen_port = {_PORT}\nunix_socket_dir = {self.folder}\nlogfile = {self.folder}/log\n"
            f"auth_type = trust\nauth_file = {self.folder}/users\nadmin_users = {ACCOUNT}\n"
            f"default_pool_size = {self._size}\nmax_client_conn = 500\nserver_login_retry = 0.1\n"
        )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [*as_account(), program(), "-q", str(self.folder / "pgbouncer.ini")]
        self._process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.url("pgbouncer"), autocommit=True).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = self.folder / "log"
                    said = log.read_text()[-2000:] if log.exists() else ""
                    raise RuntimeError(f"pgbouncer does not start:\n{said}") from None
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, and the clients' connections with it. Harmless if it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE)
            self._process = None

    def restart(self) -> None:
        """End it at once, and start it again."""
        self.stop()
        self.start()

    def url(self, database: str = "postgres", user: str = ACCOUNT) -> str:
        """The URL of a database through it."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}&port={_PORT}"
