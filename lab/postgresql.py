"""PostgreSQL servers of the lab's own: made in a temporary folder, reached by a Unix socket, deleted at the end.

The server runs as the account `postgres` if the lab runs as root, since PostgreSQL refuses to run as root. It never
touches a cluster of the system. fsync is off unless wanted: a power cut would damage the cluster, and no harm is done.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

ACCOUNT = "postgres"

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "lc_messages": "C",
}

_SETTINGS_THAT_LAST: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""For benches: what a server has that must not lose what it said was committed."""


def binaries() -> Path:
    """The folder of `initdb` and `postgres`. Raises FileNotFoundError if PostgreSQL is not installed."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("pg_config")
    if found is not None:
        folder = Path(subprocess.run([found, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
        if (folder / "initdb").exists():
            return folder
    raise FileNotFoundError("no PostgreSQL server is installed; apt-get install postgresql")


class Cluster:
    """A running server. `with Cluster() as cluster:` ends it and deletes its folder, also after an error.

    `settings`: lines of postgresql.conf, over the lab's. `durable`: fsync is on.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, durable: bool = False) -> None:
        self._settings = {**_SETTINGS, **(_SETTINGS_THAT_LAST if durable else {}), **(settings or {})}
        self._stack = contextlib.ExitStack()
        self._databases = 0
        self.folder = Path()
        self.bin = binaries()

    def __enter__(self) -> Cluster:
        with contextlib.ExitStack() as stack:
            # The path of a Unix socket has 107 bytes at most, so pytest's long folders do not do.
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wgjit-pg-")))
            if os.geteuid() == 0:
                account = pwd.getpwnam(ACCOUNT)
                os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.run("initdb", "-D", str(self.data), "-A", "trust", "-U", ACCOUNT, "-E", "UTF8", "--no-locale", "-N")
            settings = "".join(f"{name} = '{value}'\n" for name, value in self._settings.items())
            with (self.data / "postgresql.conf").open("a") as file:
                file.write(f"unix_socket_directories = '{self.folder}'\n{settings}")
            stack.callback(self.stop)
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as the server's account. Raises CalledProcessError, with what it wrote."""
        prefix = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*prefix, str(self.bin / program), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: status {done.returncode}\n{done.stdout}")

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-t", "60", "start")

    def stop(self, mode: str = "immediate") -> None:
        """End the server at once: nothing in it is to be kept. Harmless if it has ended."""
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", mode, "stop")

    def url(self, database: str = "postgres", user: str = ACCOUNT) -> str:
        """The URL of a database."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def shell(self, url: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
        """A connection in autocommit mode, as another program has it."""
        return psycopg.connect(url or self.url(), autocommit=True)

    @contextlib.contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """A new database, dropped at the end. Returns its name."""
        self._databases += 1
        name = f"lab{self._databases}"
        with self.shell() as shell:
            shell.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        try:
            yield name
        finally:
            with self.shell() as shell:
                shell.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
