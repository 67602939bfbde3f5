"""PostgreSQL servers of the lab's own: made in a temporary folder, reached by a Unix socket, deleted at the end.

    with Cluster(namespace=engine, address="10.99.0.1") as primary, primary.standby() as standby:
        primary.kill()
        standby.promote()

The server runs as the account `postgres` if the lab runs as root, since PostgreSQL refuses to run as root. It never
touches a cluster of the system. fsync is off unless wanted: a power cut would damage the cluster, and no harm is done.
What was committed outlives `kill` all the same.

With a namespace and an address the server is also reached over TCP. Its Unix socket is a file, which does not depend on
namespaces: so the lab can look into a server whose network is cut.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import psycopg

if TYPE_CHECKING:
    from lab.netns import Namespace

ACCOUNT = "postgres"
_PORT = 5432
_PATIENCE = 60.0
"""Seconds that killed processes get to be gone."""

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "wal_retrieve_retry_interval": "200ms",
    "wal_keep_size": "256MB",
}

_SETTINGS_THAT_LAST: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on"}
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

    `settings`: lines of postgresql.conf, over the lab's. `durable`: fsync is on. `namespace`: where the server runs.
    `address`: where it listens for TCP besides its Unix socket, trusting everybody.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        durable: bool = False,
        namespace: Namespace | None = None,
        address: str | None = None,
    ) -> None:
        self._settings = {**_SETTINGS, **(_SETTINGS_THAT_LAST if durable else {}), **(settings or {})}
        if address is not None:
            self._settings["listen_addresses"] = address
        self._stack = contextlib.ExitStack()
        self._databases = 0
        self._hanging: set[int] = set()
        self.namespace, self.address = namespace, address
        self.folder = Path()
        self.bin = binaries()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            # The path of a Unix socket has 107 bytes at most, so pytest's long folders do not do.
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wgjit-pg-")))
            give(self.folder)
            self._make()
            stack.callback(self.stop)
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make(self) -> None:
        """Make the data directory."""
        self.run("initdb", "-D", str(self.data), "-A", "trust", "-U", ACCOUNT, "-E", "UTF8", "--no-locale", "-N")
        with (self.data / "pg_hba.conf").open("a") as file:
            for database, network in itertools.product(("all", "replication"), ("0.0.0.0/0", "::/0")):
                file.write(f"host {database} all {network} trust\n")
        self._configure()

    def _configure(self) -> None:
        settings = "".join(f"{name} = '{value}'\n" for name, value in self._settings.items())
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self.folder}'\n{settings}")

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The server's first process. Raises FileNotFoundError if the server does not run."""
        return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL as the server's account. Raises RuntimeError with what it wrote."""
        prefix = as_account()
        if self.namespace is not None:
            prefix = ["ip", "netns", "exec", self.namespace.name, *prefix]
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
            log = self.folder / "log"
            said = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{said}")

    # --- what happens to a server ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, and wait until it takes connections. After a kill it recovers first."""
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-t", "60", "start")

    def stop(self, mode: str = "immediate") -> None:
        """End the server, at once by default: nothing in it is to be kept. Harmless if it has ended."""
        self.go_on()
        if self.is_running():
            self.run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", mode, "stop")

    def restart(self) -> None:
        """End the server at once, and start it again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End all processes of the server by SIGKILL, as when its machine dies. `start` starts it again."""
        gone = self.processes()
        for pid in gone:
            _send(pid, signal.SIGKILL)
        self._hanging.clear()
        deadline = time.monotonic() + _PATIENCE
        while any(map(_lives, gone)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.data}: processes that do not end: {sorted(filter(_lives, gone))}")
            time.sleep(0.002)
        # As long as nobody has waited for the dead process, a new server would take the old one to run.
        for path in (self.data / "postmaster.pid", self.folder / f".s.PGSQL.{_PORT}.lock"):
            path.unlink(missing_ok=True)

    def hang(self) -> None:
        """Stop all processes of the server by SIGSTOP: connections are taken by the kernel, and nothing answers."""
        for pid in self.processes():  # the first one first: it starts no more
            self._hanging.add(pid)
            _send(pid, signal.SIGSTOP)
        for pid in self.processes() - self._hanging:  # the first process started it meanwhile
            self._hanging.add(pid)
            _send(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a server that hangs go on. Harmless if it does not hang."""
        while self._hanging:
            _send(self._hanging.pop(), signal.SIGCONT)

    def is_running(self) -> bool:
        """Whether the server's first process is there, hanging or not."""
        return bool(self.processes())

    def processes(self) -> set[int]:
        """The ids of the first process and its children, as far as they run."""
        try:
            first = self.pid
        except (FileNotFoundError, ValueError):
            return set()
        # The file of a server that was killed may name a number that is another's by now.
        if not _is_server(first):
            return set()
        return {first, *(int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(int(path.name)) == first)}

    # --- a hot standby --------------------------------------------------------------------------------------

    def standby(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        namespace: Namespace | None = None,
        address: str | None = None,
    ) -> Standby:
        """A streaming hot standby in a folder of its own, to be entered as a context. `settings` go over the primary's.

        By default it runs in this server's namespace, without an address. If both have addresses, it streams over TCP.
        """
        own = {**self._settings, "listen_addresses": "", **(settings or {})}
        return Standby(self, own, namespace=namespace or self.namespace, address=address)

    # --- reaching it ----------------------------------------------------------------------------------------

    def url(self, database: str = "postgres", user: str = ACCOUNT) -> str:
        """The URL of a database by the Unix socket, which works from every namespace."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def network_url(self, database: str = "postgres", user: str = ACCOUNT, *others: Cluster, options: str = "") -> str:
        """The URL of a database over TCP. `others` are further servers to try; `options` are libpq's, `a=b&c=d`."""
        hosts = ",".join(f"{server.address}:{_PORT}" for server in (self, *others))
        return f"postgresql://{user}@{hosts}/{database}" + (f"?{options}" if options else "")

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


class Standby(Cluster):
    """A hot standby that streams from a primary. Made by `Cluster.standby`."""

    def __init__(
        self,
        primary: Cluster,
        settings: Mapping[str, str] | None = None,
        *,
        namespace: Namespace | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(settings, namespace=namespace, address=address)
        self.primary = primary

    def _make(self) -> None:
        far = self.primary.address is not None and self.address is not None
        host = self.primary.address if far else self.primary.folder
        where = f"host={host} port={_PORT} user={ACCOUNT} application_name={self.folder.name} connect_timeout=2"
        self.run("pg_basebackup", "-D", str(self.data), "-d", where, "-X", "stream", "-c", "fast", "-N", "-R")
        self._configure()

    def promote(self) -> None:
        """Make it a primary, and wait until it takes writes."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "promote")

    def follow(self, primary: Cluster) -> None:
        """Copy another primary anew and stream from it, as an old primary does after a failover."""
        self.stop()
        shutil.rmtree(self.data)
        self.primary = primary
        self._make()
        self.start()

    def is_primary(self) -> bool:
        """Whether it was promoted. False if it does not answer."""
        try:
            with self.shell() as shell:
                return shell.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,)
        except psycopg.OperationalError:
            return False

    def catch_up(self, timeout: float = 60.0) -> None:
        """Wait until all that the primary has written so far is here to be read. Raises TimeoutError."""
        with self.primary.shell() as shell:
            row = shell.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        deadline = time.monotonic() + timeout
        with self.shell() as shell:
            while shell.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the standby has not come to {row[0]} within {timeout:g} s")
                time.sleep(0.005)

    @contextlib.contextmanager
    def paused(self, timeout: float = 60.0) -> Iterator[None]:
        """Repeat nothing of the primary's inside the block. The server pauses a moment after it was asked to."""
        with self.shell() as shell:
            shell.execute("SELECT pg_wal_replay_pause()")
            deadline = time.monotonic() + timeout
            while shell.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the standby does not pause within {timeout:g} s")
                time.sleep(0.005)
            try:
                yield
            finally:
                shell.execute("SELECT pg_wal_replay_resume()")


def give(*paths: Path) -> None:
    """Give files of root's to the servers' account."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)


def as_account() -> list[str]:
    """The command that runs another one as the servers' account. PostgreSQL and pgbouncer refuse to run as root."""
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups"] if os.geteuid() == 0 else []


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """What /proc tells of a process, from its state on. Empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _lives(pid: int) -> bool:
    return (_stat(pid) or ["Z"])[0] != "Z"


def _parent(pid: int) -> int | None:
    return int(stat[1]) if (stat := _stat(pid)) else None


def _is_server(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False
