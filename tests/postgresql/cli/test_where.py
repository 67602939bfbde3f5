"""Which gateway serves a peer, and which gateways there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.unit.cli.conftest import Run
from wgjit.model import Endpoint, PrivateKey, Tai64n

KEY = PrivateKey(b"\x01" * 32).public()
GATEWAY = PrivateKey(b"\x42" * 32).public()
SINCE = 1_800_000_000.0


@pytest.fixture
def database(store: str) -> Iterator[psycopg.Connection[Any]]:
    """Another program's connection, as gateways have it."""
    with psycopg.connect(store, autocommit=True) as connection:
        yield connection


def hold(database: psycopg.Connection[Any], until: float | None = None) -> None:
    endpoint = Endpoint.parse("192.0.2.7:4000")
    database.execute(
        "INSERT INTO wgjit.holdings (public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before) "
        "VALUES (%s, %s, 0, 'fra1', 1, %s, %s, %s, 'ams1')",
        (
            bytes(KEY),
            bytes(Tai64n.from_unix(SINCE)),
            endpoint.address + endpoint.port.to_bytes(2, "big"),
            SINCE,
            until,
        ),
    )


def gateway(database: psycopg.Connection[Any], name: str, ago: float, key: bytes = GATEWAY) -> None:
    database.execute(
        "INSERT INTO wgjit.gateways VALUES (%s, %s, 1, %s, 'wg0', '198.51.100.1', '0.2.0', 12345, 0.25, -1.5, %s, "
        "extract(epoch FROM clock_timestamp()) - %s)",
        (name, name.encode().ljust(16), bytes(key), SINCE, ago),
    )


@pytest.fixture
def alice(run: Run, store: str) -> None:
    assert run("add", "alice", "--public-key", str(KEY), "--allowed-ips", "10.8.0.2/32")[0] == 0


@pytest.mark.usefixtures("alice")
def test_nobody_holds_a_peer_that_never_came(run: Run) -> None:
    status, out, _ = run("where", "alice")
    assert status == 0
    assert "no gateway" in out
    assert json.loads(run("where", "alice", "--json")[1])["holding"] is None
    assert "held by" not in run("show", "alice")[1]


@pytest.mark.usefixtures("alice")
def test_a_peers_holder_is_named(run: Run, database: psycopg.Connection[Any]) -> None:
    hold(database)
    gateway(database, "fra1", ago=1.0)
    out = run("where", "10.8.0.2")[1]
    lines = dict(line.split(":", 1) for line in out.splitlines())
    assert lines["held by"].strip() == "fra1"
    assert lines["since"].strip() == "2027-01-15T08:00:00Z"
    assert lines["endpoint"].strip() == "192.0.2.7:4000"
    assert lines["before"].strip() == "ams1"
    said = json.loads(run("where", "alice", "--json")[1])
    assert said["holder_lives"] is True
    assert said["holding"]["gateway"] == "fra1"
    assert "fra1 since 2027-01-15T08:00:00Z, from 192.0.2.7:4000" in run("show", "alice")[1]
    assert json.loads(run("show", "alice", "--json")[1])["holding"] == said["holding"]


@pytest.mark.usefixtures("alice")
def test_a_holder_that_is_down_is_told_to_be(run: Run, database: psycopg.Connection[Any]) -> None:
    hold(database)
    gateway(database, "fra1", ago=60.0)
    assert "fra1, which was last seen at" in run("where", "alice")[1]
    assert json.loads(run("where", "alice", "--json")[1])["holder_lives"] is False


@pytest.mark.usefixtures("alice")
def test_a_peer_that_has_left_is_held_by_nobody(run: Run, database: psycopg.Connection[Any]) -> None:
    hold(database, until=SINCE + 60)
    assert "no gateway; fra1 held it until 2027-01-15T08:01:00Z" in run("where", "alice")[1]


def test_gateways_are_listed(wgjit: Run, database: psycopg.Connection[Any]) -> None:
    assert "no gateway shares this registry" in wgjit("gateways")[1]
    gateway(database, "fra1", ago=1.0)
    gateway(database, "ams1", ago=60.0)
    head, *rows = wgjit("gateways")[1].splitlines()
    assert head.split()[:3] == ["name", "state", "address"]
    assert [row.split()[:6] for row in rows] == [
        ["ams1", "down", "198.51.100.1", "wg0", "0.2.0", "12,345"],
        ["fra1", "up", "198.51.100.1", "wg0", "0.2.0", "12,345"],
    ]
    assert "+1.50 s" in rows[0], "its clock is ahead, as the database's is behind"
    ams, fra = map(json.loads, wgjit("gateways", "list", "--json")[1].splitlines())
    assert (ams["lives"], fra["lives"]) == (False, True)


def test_gateways_with_different_keys_are_named(wgjit: Run, database: psycopg.Connection[Any]) -> None:
    gateway(database, "fra1", ago=1.0)
    gateway(database, "ams1", ago=1.0, key=KEY)
    out = wgjit("gateways")[1]
    assert f"ams1 has the public key {KEY}" in out
    assert "different private keys" in out


def test_a_gateway_that_has_ended_is_forgotten(wgjit: Run, database: psycopg.Connection[Any]) -> None:
    gateway(database, "fra1", ago=1.0)
    gateway(database, "ams1", ago=60.0)
    assert wgjit("gateways", "forget", "ams1")[1] == "forgot gateway ams1\n"
    status, _, err = wgjit("gateways", "forget", "fra1")
    assert status == 1
    assert "fra1" in err
    status, _, err = wgjit("gateways", "forget", "ams1")
    assert status == 1
