"""What a person is told when a command does not come to the database, or may not do there what it should."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.postgresql import Cluster
from tests.postgresql.test_connection import documented_grants
from tests.unit.cli.conftest import K1, Run
from wgjit.database_url import DatabaseUrl
from wgjit.stores.postgresql.database import schema

SECRET = "hunter2-Zq8"
Told = Callable[..., str]
ADD = ("peer", "add", "alice", "--public-key", K1, "--allowed-ips", "10.8.0.2")


@pytest.fixture(scope="module")
def engine() -> Iterator[Cluster]:
    """A server with a registry, reached over TCP, too. There `guarded` needs a password."""
    address = ".".join(map(str, (127, *random.Random(os.getpid()).choices(range(1, 255), k=3))))
    with Cluster(address=address) as engine:
        schema.init(DatabaseUrl(engine.url()))
        with engine.shell() as shell:
            shell.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'".encode())
            shell.execute("CREATE ROLE stranger LOGIN; CREATE ROLE gateways LOGIN; CREATE ROLE managers LOGIN")
            shell.execute(documented_grants().encode())
            shell.execute("GRANT managers TO guarded")
            shell.execute("CREATE DATABASE empty")
        guards = engine.data / "pg_hba.conf"
        guards.write_text("host all guarded 127.0.0.0/8 scram-sha-256\n" + guards.read_text())
        engine.run("pg_ctl", "-D", str(engine.data), "reload")
        yield engine


@pytest.fixture
def told(wgjit: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command on a registry that it cannot use. Gives its one line of error, without the common beginning."""

    def run(url: str, *arguments: str) -> str:
        monkeypatch.setenv("WGJIT_STORE", url)
        status, out, err = wgjit(*arguments)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1
        assert SECRET not in err
        begin = f"wgjit: registry {DatabaseUrl(url)}: "
        assert err.startswith(begin)
        return err[len(begin) :]

    return run


def test_a_server_that_is_not_there(told: Told, engine: Cluster, tmp_path: Path) -> None:
    for url in (
        f"postgresql://u:{SECRET}@{engine.address}:1/wgjit",
        f"postgresql://u:{SECRET}@{engine.address}:1,{engine.address}:2/wgjit",
        f"postgresql:///wgjit?host={tmp_path}",
    ):
        assert told(url, "peer", "list").startswith(
            "no server listens there; check that it runs, and host and port in the URL ("
        )
    both = told(f"postgresql://u:{SECRET}@{engine.address}:1,{engine.address}:2/wgjit", "peer", "list")
    assert "port 1 failed" in both
    assert "port 2 failed" in both
    assert told("postgresql://nowhere.invalid/wgjit", "claim", "show", "alice").startswith(
        "the name of a host is not found; check the URL ("
    )


def test_a_password_that_is_wrong_or_missing(told: Told, wgjit: Run, engine: Cluster, tmp_path: Path) -> None:
    there = f"@{engine.address}/postgres"
    passfile = tmp_path / "pass"
    for user in ("guarded:wrong", "guarded", "nobody"):
        assert told(f"postgresql://{user}{there}", "peer", "list").startswith(
            "the server does not let this user in; check user, password (passfile) and pg_hba.conf ("
        )
    passfile.write_text(f"{engine.address}:5432:*:guarded:{SECRET}\n")
    passfile.chmod(0o600)
    url = f"postgresql://guarded{there}?passfile={passfile}"
    assert wgjit("peer", "list", "--store", url) == (0, "", "")
    assert told(f"{url}&sslmode=verify-full", "peer", "list").startswith("TLS fails; check sslmode, sslrootcert and ")


def test_a_database_or_a_registry_that_is_not_there(told: Told, wgjit: Run, engine: Cluster) -> None:
    assert told(engine.url("absent"), *ADD).startswith("there is no such database; make it with `createdb -E UTF8 ")
    for arguments in (("peer", "list"), ADD, ("token", "create", "ci", "--scope", "read"), ("audit",)):
        assert told(engine.url("empty"), *arguments).startswith(
            "there is no registry in this database; make it with `wgjit registry init` ("
        )


def test_a_role_without_the_rights(told: Told, wgjit: Run, engine: Cluster) -> None:
    denied = "access is denied; give this role the rights that docs/REGISTRY.md lists (permission denied for "
    assert told(engine.url(user="stranger"), "peer", "list").startswith(denied + "schema")
    as_gateway, as_manager = engine.url(user="gateways"), engine.url(user="managers")
    assert wgjit("peer", "list", "--store", as_gateway) == (0, "", "")
    for arguments in (ADD, ("audit",), ("token", "list")):
        assert told(as_gateway, *arguments).startswith(denied + "table ")
    assert wgjit(*ADD, "--store", as_manager)[0] == 0
    assert wgjit("claim", "show", "alice", "--store", as_gateway)[0] == 0
    assert told(as_gateway, "claim", "reset", "alice").startswith(denied + "table ")
    assert wgjit("claim", "reset", "alice", "--store", as_manager)[0] == 0
    assert wgjit("peer", "remove", "alice", "--store", as_manager)[0] == 0


def test_a_standby_is_read_and_refuses_changes_with_the_fix(told: Told, wgjit: Run, engine: Cluster) -> None:
    assert wgjit(*ADD, "--store", engine.url())[0] == 0
    with engine.standby() as standby:
        standby.catch_up()
        assert "alice" in wgjit("peer", "list", "--store", standby.url())[1]
        assert wgjit("peer", "show", "alice", "--store", standby.url())[0] == 0
        refused = "this server takes no changes (a standby?); add target_session_attrs=read-write to the URL ("
        for arguments in (
            (*ADD[:2], "bob", *ADD[3:]),
            ("peer", "set", "alice", "--keepalive", "25"),
            ("peer", "remove", "alice"),
            ("claim", "reset", "alice"),
            ("token", "create", "ci", "--scope", "read"),
        ):
            assert told(standby.url(), *arguments).startswith(refused), arguments
        assert told(f"{standby.url()}&target_session_attrs=read-write", "peer", "list").startswith(
            "no server of the URL is what its target_session_attrs asks for"
        )
        both = f"postgresql:///postgres?user=postgres&host={standby.folder},{engine.folder}"
        assert wgjit("peer", "remove", "alice", "--store", f"{both}&target_session_attrs=read-write")[0] == 0


@pytest.fixture
def empty(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database without a registry, which the commands use."""
    with cluster.database() as name:
        monkeypatch.setenv("WGJIT_STORE", cluster.url(name))
        yield cluster.url(name)


def test_an_older_schema_is_told_with_the_command_and_the_command_migrates(
    wgjit: Run, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "make it with `wgjit registry init`" in wgjit("registry", "migrate")[2], "it makes none by the way"
    assert wgjit("registry", "init", empty)[0] == 0
    newer = (*schema.scripts("wgjit.stores.postgresql.database"), "CREATE TABLE wgjit.extra ()")
    monkeypatch.setattr(schema, "scripts", lambda _package: newer)
    status, _, err = wgjit("peer", "list")
    assert (status, "its schema is older; migrate it with `wgjit registry migrate`" in err) == (1, True)
    assert "migrated to the present schema" in wgjit("registry", "migrate")[2]
    assert "has the present schema already" in wgjit("registry", "migrate")[2]
    assert wgjit("peer", "list") == (0, "", "")
