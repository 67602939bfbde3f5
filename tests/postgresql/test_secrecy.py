"""A password in `store.url` is where the database is asked, and nowhere else: in no list, file, log or status."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postgresql import Cluster
from lab.registry import LAB
from tests.contracts.store import FULL
from tests.postgresql.replicas import describe, until
from wgjit.config import load
from wgjit.database_url import DatabaseUrl
from wgjit.errors import WgjitError
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.registry import PostgresRegistry
from wgjit.stores.replica.messages import Terms
from wgjit.stores.replica.store import ReplicaStore

SECRET, WRONG = "hunter2-Zq8", "letmein-Zq8"


@pytest.fixture
def engine() -> Iterator[Cluster]:
    """A server on which `guarded` needs a password."""
    address = ".".join(map(str, (127, *random.Random(os.getpid()).choices(range(1, 255), k=3))))
    with Cluster(address=address) as engine:
        with engine.shell() as shell:
            shell.execute(f"CREATE ROLE guarded SUPERUSER LOGIN PASSWORD '{SECRET}'".encode())
        guards = engine.data / "pg_hba.conf"
        guards.write_text("host all guarded 127.0.0.0/8 scram-sha-256\n" + guards.read_text())
        engine.run("pg_ctl", "-D", str(engine.data), "reload")
        schema.init(DatabaseUrl(engine.url()))
        yield engine


def url(engine: Cluster, password: str) -> str:
    return f"postgresql://guarded:{password}@{engine.address}/postgres"


@contextlib.contextmanager
def replica(place: str, path: Path) -> Iterator[ReplicaStore]:
    """A replica as `wgjit up` opens it for this store.url."""
    config = load("wg0", environment={"WGJIT_STORE_URL": place}).config
    assert config.store.database is not None
    store = ReplicaStore(path, Terms(config.store.database.reveal(), describe(), poll=0.05))
    try:
        yield store
    finally:
        store.close()


def told_by(process: int) -> str:
    """What anybody may read of a process, and what it was given."""
    return "".join(Path(f"/proc/{process}/{name}").read_text(errors="replace") for name in ("cmdline", "environ"))


def test_a_replicas_process_file_and_status_show_none(
    engine: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WGJIT_STORE_URL", url(engine, SECRET))
    with contextlib.closing(PostgresRegistry(DatabaseUrl(url(engine, SECRET)))) as registry:
        registry.peers.adopt([FULL], by=LAB)
    path = tmp_path / "replica.db"
    told = ""
    with replica(url(engine, SECRET), path) as store:
        store.fleet.start(60.0)
        assert store.fleet.wait_for(lambda state: bool(state.get("complete")), 60.0)
        assert store.lookup(FULL.public_key) is not None
        told += told_by(store.figures()["pid"]) + str(store.figures())
        engine.stop()
        until(lambda: store.figures().get("trouble"))
        told += str(store.figures())
    with replica(url(engine, WRONG), tmp_path / "other.db") as store:
        engine.start()
        with contextlib.suppress(WgjitError):  # whether it tells so at once or later
            store.fleet.start(1.0)
        until(lambda: "password" in str(store.figures()))
        told += str(store.figures()) + repr(store.fleet)
    printed = capfd.readouterr()
    told += printed.out + printed.err
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    for secret in (SECRET, WRONG):
        assert secret not in told
        assert secret.encode() not in kept
