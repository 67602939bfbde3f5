"""The API while its database is away, hangs, starts again, or lets nobody do anything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lab.postgresql import Cluster
from tests.unit.api.conftest import Api, run, start
from tests.unit.api.test_peers import lines, problem
from wgjit.api.entrance.threads import ALL
from wgjit.api.registries import PATIENCE
from wgjit.database_url import DatabaseUrl
from wgjit.stores.postgresql.database import schema


@pytest.fixture
def engine() -> Iterator[Cluster]:
    with Cluster() as engine:
        schema.init(DatabaseUrl(engine.url()))
        yield engine


@pytest.fixture
def server(engine: Cluster, tmp_path: Path) -> Iterator[Api]:
    server = run(tmp_path, url=engine.url())
    try:
        yield server
    finally:
        server.end()


def connections(engine: Cluster) -> int:
    with engine.shell() as shell:
        row = shell.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wgjit'").fetchone()
    return 0 if row is None else int(str(row[0]))


def test_without_the_engine_everybody_is_told_to_try_again_and_afterwards_all_is_well(
    server: Api, engine: Cluster
) -> None:
    local, token = server.local, server.token("admin")
    remote, stranger = server.remote(token), server.remote(None)
    assert local.post("/v1/peers", json={"name": "before"}).status_code == 201
    engine.stop("fast")
    text = {"Content-Type": "application/x-ndjson"}
    for answer in (
        local.get("/v1/peers/before"),
        local.post("/v1/peers", json={"name": "meanwhile"}),
        local.post("/v1/peers/import", content=lines(range(1), 31)[0], headers=text),
        local.get("/v1/peers/export"),
        local.get("/v1/changes"),
        remote.get("/v1/count"),
        stranger.get("/v1/healthz"),
    ):
        assert problem(answer) == (503, "registry-failed")
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["detail"] == "the registry cannot be used now; the log of wgjit api says why"
        assert str(engine.folder) not in answer.text
    engine.start()
    assert local.get("/v1/peers/before").status_code == 200
    assert remote.post("/v1/peers", json={"name": "after"}).status_code == 201
    while stranger.get("/v1/healthz").status_code != 200:  # its last answer holds for a second
        pass
    log = server.log()
    assert "no server listens there" in log
    assert 1 <= log.count("the registry cannot be used") <= 3
    assert "internal error" not in log


def test_connections_that_broke_meanwhile_are_replaced(server: Api, engine: Cluster) -> None:
    http = server.local
    assert http.post("/v1/peers", json={"name": "one"}).status_code == 201
    engine.restart()
    assert http.get("/v1/peers/one").status_code == 200
    with engine.shell() as shell:
        shell.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wgjit'")
    assert http.post("/v1/peers", json={"name": "two"}).status_code == 201


def test_an_engine_that_hangs_holds_a_request_for_a_while_and_the_next_ones_not_at_all(
    server: Api, engine: Cluster
) -> None:
    token = server.token("read")
    assert server.local.post("/v1/peers", json={"name": "one"}).status_code == 201
    clients = [*(server.local for _ in range(6)), *(server.remote(token) for _ in range(6))]
    for client in clients[6:]:
        assert client.get("/v1/count").status_code == 200

    def ask(client: httpx.Client) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        return client.get("/v1/count"), time.monotonic() - began

    engine.hang()
    try:
        with ThreadPoolExecutor(len(clients)) as pool:
            first = list(pool.map(ask, clients))
        then = [ask(client) for client in clients]
    finally:
        engine.go_on()
    for answer, _ in (*first, *then):
        assert problem(answer) == (503, "registry-failed")
    assert max(took for _, took in first) >= 0.9 * PATIENCE  # one had to wait, to know that it hangs
    assert sum(took < PATIENCE / 2 for _, took in then) > len(then) / 2
    while server.local.get("/v1/count").status_code != 200:  # one tries again every second
        pass
    assert "server does not answer" in server.log()


def test_connections_are_bounded_and_few_are_kept(server: Api, engine: Cluster) -> None:
    tokens = [server.token("read") for _ in range(6)]
    most = 0
    clients = [server.remote(tokens[number % 6], f"127.0.0.{number + 2}") for number in range(18)]
    for each in clients:  # one after another, so that the entrance takes all of them
        assert each.get("/v1/count").status_code == 200
    with ThreadPoolExecutor(len(clients)) as pool:
        rounds = [pool.submit(lambda http: [http.get("/v1/peers") for _ in range(20)], each) for each in clients]
        while not all(one.done() for one in rounds):
            most = max(most, connections(engine))
    assert all(answer.status_code in (200, 503) for one in rounds for answer in one.result())
    assert most <= ALL
    while connections(engine) > 8:
        pass


def test_who_took_too_long_is_told_so_and_the_others_go_on(server: Api, engine: Cluster) -> None:
    server.local.post("/v1/peers", json={"name": "one", "labels": {"team": "infra"}})
    with engine.shell() as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE wgjit.labels IN ACCESS EXCLUSIVE MODE")
        answer = server.local.get("/v1/count", params={"label": "team=infra"})
        assert problem(answer) == (503, "registry-busy")
        assert "the server took too long for this; try again, or ask for less" in answer.json()["detail"]
        assert server.local.get("/v1/count").json() == {"count": 1}
        other.execute("ROLLBACK")
    assert server.local.get("/v1/count", params={"label": "team=infra"}).json() == {"count": 1}


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("none", "there is no such database; make it with `createdb"),
        ("template1", "there is no registry in this database; make it with `wgjit registry init`"),
    ],
)
def test_a_server_without_a_registry_does_not_start(engine: Cluster, tmp_path: Path, database: str, told: str) -> None:
    process = start(tmp_path, url=engine.url(database))
    assert process.wait(60) == 1
    assert process.stdout
    assert process.stdout.read() == b""
    process.stdout.close()
    log = (tmp_path / "log").read_text()
    assert told in log
    assert log.count("\n") == 1
