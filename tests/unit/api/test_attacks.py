"""Attacks on the real process, one by one: whatever somebody takes, others, and the Unix socket, get theirs.

Strangers come from other addresses of 127.0.0.0/8 than who is honest, unless a test says otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.unit.api.conftest import Api, start
from tests.unit.api.test_peers import new_key, problem
from wgjit.api.entrance import descriptors
from wgjit.api.routes import streams
from wgjit.api.service import IMPORT_SHARE
from wgjit.model import PublicKey

HONEST, SAME = "127.0.0.9", "127.0.0.2"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a TLS ClientHello begins."""


@pytest.fixture(autouse=True)
def many_files() -> None:
    descriptors.raise_limit()


def connect(api: Api, source: str) -> socket.socket:
    """A TCP connection from there, whatever the server makes of it."""
    made = socket.socket()
    made.setblocking(False)
    made.bind((source, 0))
    with contextlib.suppress(BlockingIOError):
        made.connect(api.address)
    return made


def tls(api: Api, trusted: ssl.SSLContext) -> ssl.SSLSocket:
    """The same, with its handshake finished."""
    plain = socket.create_connection(api.address, 30, (SAME, 0))
    return trusted.wrap_socket(plain, server_hostname="127.0.0.1")


class Dribblers:
    """Connections that send a byte of a handshake at a time, and come again when they are hung up on."""

    def __init__(self, api: Api, count: int, source: str) -> None:
        self._api = api
        self._source = source
        self._ending = threading.Event()
        self._all: list[tuple[socket.socket, int]] = [(connect(api, source), 0) for _ in range(count)]
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        self.came_again = 0

    def __enter__(self) -> Dribblers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for each, _ in self._all:
            each.close()

    def _run(self) -> None:
        while not self._ending.wait(0.05):
            for number, (each, sent) in enumerate(self._all):
                try:
                    each.send(HELLO[sent : sent + 1] or b"\x00")
                    self._all[number] = each, sent + 1
                except BlockingIOError:
                    continue
                except OSError:
                    each.close()
                    self._all[number] = connect(self._api, self._source), 0
                    self.came_again += 1
            self.rounds += 1


def test_1200_connections_that_say_nothing_keep_nobody_out(own: Callable[..., Api]) -> None:
    """With 1,024 open files, which the process cannot allow itself more of."""
    api = own(files=1024)
    token = api.token("read")
    before = api.remote(token, SAME)
    assert before.get("/v1/count").status_code == 200
    silent = [connect(api, SAME) for _ in range(1200)]
    try:
        for _ in range(5):
            assert api.local.get("/v1/healthz").status_code == 200
            assert api.remote(token, HONEST).get("/v1/count").status_code == 200
            assert before.get("/v1/count").status_code == 200  # of the very address
    finally:
        for each in silent:
            each.close()
    assert api.process.poll() is None
    assert len(api.log().splitlines()) <= 10, api.log()
    assert len(api.log()) < 5000
    assert "connections are refused" in api.log()
    assert api.memory() < 200


def test_dribbling_handshakes_keep_nobody_out(own: Callable[..., Api]) -> None:
    """With 1,024 open files, too: 1,100 handshakes are more."""
    api = own(files=1024)
    token = api.token("read")
    before = api.remote(token, SAME)
    assert before.get("/v1/count").status_code == 200
    with Dribblers(api, 1100, SAME) as dribblers:
        for _ in range(5):
            rounds = dribblers.rounds
            assert api.remote(token, HONEST).get("/v1/count").status_code == 200
            assert before.get("/v1/count").status_code == 200
            assert api.local.get("/v1/healthz").status_code == 200
            while dribblers.rounds == rounds:  # all of them were at it in between
                pass
        for _ in range(10_000):  # a newcomer of the very address has a chance, no more
            try:
                assert api.remote(token, SAME).get("/v1/count").status_code == 200
                break
            except httpx.TransportError:
                continue
        else:
            pytest.fail("nobody gets in from the dribblers' address")
        assert dribblers.came_again
    assert len(api.log().splitlines()) <= 10, api.log()
    assert api.memory() < 200


LINE = json.dumps({"public_key": new_key(), "allowed_ips": ["10.9.0.1/32"]}).encode() + b"\n"


def slow_import(api: Api, trusted: ssl.SSLContext, token: str) -> ssl.SSLSocket:
    """An import of which the first line comes, and the rest does not."""
    made = tls(api, trusted)
    made.sendall(
        b"POST /v1/peers/import HTTP/1.1\r\nHost: wgjit\r\nContent-Type: application/x-ndjson\r\n"
        b"Authorization: Bearer " + token.encode() + b"\r\nContent-Length: 100000000\r\n\r\n" + LINE
    )
    return made


@contextlib.contextmanager
def kept_slow(imports: list[ssl.SSLSocket]) -> Iterator[None]:
    """Send them a little more all the time, so that the time they have is never over."""
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(0.2):
            for each in imports:
                each.sendall(LINE * 10)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def test_slow_imports_block_nobody_and_end_with_their_token(own: Callable[..., Api]) -> None:
    api = own()
    slow, other = api.token("write", name="slow"), api.token("write")
    trusted = api.trusted()
    imports = [slow_import(api, trusted, slow) for _ in range(45)]
    waiting = selectors.DefaultSelector()
    for each in imports:
        waiting.register(each, selectors.EVENT_READ)
    refused = 0
    while refused < len(imports) - IMPORT_SHARE:
        for key, _ in waiting.select(30) or pytest.fail("an import is neither refused nor alone"):
            assert isinstance(key.fileobj, ssl.SSLSocket)
            key.fileobj.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):  # TLS had something to say, and the server has not
                assert key.fileobj.recv(65536).startswith(b"HTTP/1.1 503")
                waiting.unregister(key.fileobj)
                refused += 1
    going_on = [each for each in imports if each in waiting.get_map()]
    for each in going_on:
        each.setblocking(True)
    with kept_slow(going_on):
        for _ in range(10):  # they are under way, and hold up nobody
            assert api.local.get("/v1/healthz").status_code == 200
            assert api.remote(None, HONEST).get("/v1/healthz").status_code == 200
            http = api.remote(other, HONEST)
            assert http.get("/v1/count").status_code == 200
            line = json.dumps({"public_key": new_key(), "allowed_ips": []})
            headers = {"Content-Type": "application/x-ndjson"}
            assert http.post("/v1/peers/import", content=line, headers=headers).json()["added"] == 1
    api.local.delete("/v1/tokens/slow")
    for each in going_on:
        assert each.recv(65536).startswith(b"HTTP/1.1 401")
    for each in imports:
        each.close()
    assert api.local.get("/v1/count").json() == {"count": 10}  # nothing of what was cut off


def test_a_body_of_a_revoked_token_ends_too(api: Api) -> None:
    token = api.token("write", name="body")
    with tls(api, api.trusted()) as http:
        http.sendall(
            b"POST /v1/peers HTTP/1.1\r\nHost: wgjit\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
        )
        while {each["name"]: each for each in api.local.get("/v1/tokens").json()["tokens"]}["body"][
            "last_used_at"
        ] is None:
            pass
        api.local.delete("/v1/tokens/body")
        assert http.recv(65536).startswith(b"HTTP/1.1 401")


@contextlib.contextmanager
def changes(api: Api, token: str, source: str) -> Iterator[int]:
    """The status of a stream that is asked for; it stays open in the block."""
    with api.remote(token, source).stream("GET", "/v1/changes") as answer:
        yield answer.status_code


def test_one_token_does_not_get_all_streams(own: Callable[..., Api]) -> None:
    api = own()
    greedy, gateway, other = api.token("read"), api.token("gateway"), api.token("read")
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(changes(api, greedy, SAME)) for _ in range(streams.SHARE)]
        assert taken == [200] * streams.SHARE
        for _ in range(20):
            with changes(api, greedy, SAME) as status:
                assert status == 503
        for token in (gateway, other):
            with changes(api, token, HONEST) as status:
                assert status == 200
    with changes(api, greedy, SAME) as status:  # its places are free again
        assert status == 200


def test_readers_do_not_get_the_streams_that_are_kept_for_gateways(own: Callable[..., Api]) -> None:
    api = own()
    others = streams.MOST - streams.KEPT
    with contextlib.ExitStack() as stack:
        for number in range(others):
            if number % streams.SHARE == 0:
                token = api.token("read")
            assert stack.enter_context(changes(api, token, f"127.0.1.{number}")) == 200
        with changes(api, api.token("read"), HONEST) as status:
            assert status == 503
        with changes(api, api.token("gateway"), HONEST) as status:
            assert status == 200
        with api.local.stream("GET", "/v1/changes") as answer:
            assert answer.status_code == 200


def test_pages_of_peers_with_thousands_of_labels_stay_small(own: Callable[..., Api]) -> None:
    """Peers such as only another program can write: eight pages of them at once, and the export."""
    api = own()
    peers, labels = 40, 3000
    with contextlib.closing(sqlite3.connect(api.folder / "wg0.db")) as db, db:
        for number in range(peers):
            key = PublicKey(os.urandom(32))
            db.execute("INSERT INTO peers (public_key, allowed_ips, name) VALUES (?, x'', ?)", (key, f"peer {number}"))
            rows = ((key, f"label{index}", str(index) * 40) for index in range(labels))
            db.executemany("INSERT INTO labels (public_key, key, value) VALUES (?, ?, ?)", rows)
    token = api.token("read")
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(api.remote(token, HONEST).get("/v1/peers", params={"limit": 1000}))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    for answer in answers:
        assert answer.status_code == 200
        assert 1 <= len(answer.json()["peers"]) < peers
        assert len(answer.content) < 1 << 21
    seen, after = [], None
    while after is not None or not seen:
        page = api.local.get("/v1/peers", params={"limit": 1000} | ({} if after is None else {"after": after})).json()
        seen += [peer["name"] for peer in page["peers"]]
        after = page["next"]
    assert sorted(seen) == sorted(f"peer {number}" for number in range(peers))
    with api.remote(token, HONEST).stream("GET", "/v1/peers/export") as exported:
        assert sum(1 for _ in exported.iter_lines()) == peers
    assert api.memory() < 200


def test_a_peer_has_a_bound_by_every_way_of_adding(api: Api) -> None:
    many = {f"label{number}": "x" for number in range(65)}
    wide = [f"fd00::{number:x}" for number in range(1025)]
    for body, field in (({"labels": many}, "labels"), ({"allowed_ips": wide}, "allowed_ips")):
        peer = {"public_key": new_key(), "name": f"too much of {field}"}
        answer = api.local.post("/v1/peers", json=peer | body)
        assert problem(answer) == (422, "invalid-value")
        assert answer.json()["errors"][0]["field"] == field
        line = json.dumps({"allowed_ips": []} | peer | body)
        headers = {"Content-Type": "application/x-ndjson"}
        assert problem(api.local.post("/v1/peers/import", content=line, headers=headers)) == (422, "invalid-value")
        assert api.local.post("/v1/peers", json=peer).status_code == 201
        path = f"/v1/peers/{peer['name']}"
        answer = api.local.patch(path, json=body)
        assert problem(answer) == (422, "invalid-value")
        assert answer.json()["errors"][0]["field"] == field
    half = dict(list(many.items())[:40])
    assert api.local.patch(path, json={"labels": half}).status_code == 200
    assert problem(api.local.patch(path, json={"labels": dict(list(many.items())[40:])})) == (422, "invalid-value")


def test_too_few_open_files_are_told(tmp_path: object, own: Callable[..., Api]) -> None:
    process = start(tmp_path, files=300)  # type: ignore[arg-type]
    assert process.stdout
    assert process.stdout.read() == b""
    process.stdout.close()
    assert process.wait(30) == 1
    assert "300 open files are too few" in (tmp_path / "log").read_text()  # type: ignore[operator]


def test_answers_to_bad_bodies_are_bounded(api: Api) -> None:
    body = {f"no such field {number} {'x' * 300}": 1 for number in range(500)}
    answer = api.local.post("/v1/peers", json=body)
    assert problem(answer) == (422, "invalid-value")
    assert len(answer.json()["errors"]) == 100
    assert len(answer.content) < 100_000
    bad = json.dumps({"public_key": new_key(), "allowed_ips": ["x" * 500_000]})
    headers = {"Content-Type": "application/x-ndjson"}
    answer = api.local.post("/v1/peers/import?skip_bad=true", content=f"{bad}\n{bad}\n", headers=headers)
    assert answer.json()["refused"] == 2
    assert len(answer.content) < 10_000


def test_tokens_come_in_pages(own: Callable[..., Api]) -> None:
    api = own()
    for number in range(5):
        api.token("read", name=f"token {number}")
    names, after = [], None
    while after is not None or not names:
        parameters = {"limit": "2"} | ({} if after is None else {"after": after})
        page = api.local.get("/v1/tokens", params=parameters).json()
        assert len(page["tokens"]) <= 2
        names += [token["name"] for token in page["tokens"]]
        after = page["next"]
    assert names == [f"token {number}" for number in range(5)]
