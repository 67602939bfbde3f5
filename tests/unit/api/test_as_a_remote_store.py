"""wgjit's own API answers what a gateway asks a registry elsewhere: one registry for a fleet."""

from __future__ import annotations

import base64
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.registry_service import wait_until
from tests.unit.api.conftest import BY, CONFIG, Api
from tests.unit.cli.conftest import written_by_another
from wgjit.config import load_config
from wgjit.daemon.open_store import open_store
from wgjit.errors import StoreError
from wgjit.model import Peer, PresharedKey, PrivateKey, PublicKey
from wgjit.stores.remote.store import RemoteStore


def store_of(api: Api, folder: Path, scope: str) -> RemoteStore:
    (folder / "token").write_text(api.token(scope))
    (folder / "gateway.toml").write_text(
        f'[gateway]\nhold_deadline = 4\n[store]\nurl = "{api.url}/v1"\npath = "{folder}/answers.db"\n'
        f'token_file = "{folder}/token"\nca_file = "{api.folder}/cert.pem"\ntimeout = 3\n'
    )
    store = open_store("wg0", load_config(folder / "gateway.toml"))
    assert isinstance(store, RemoteStore)
    return store


@pytest.fixture
def store(api: Api, tmp_path: Path) -> Iterator[RemoteStore]:
    store = store_of(api, tmp_path, "gateway")
    yield store
    store.close()


def test_a_gateway_finds_changes_and_loses_peers_of_it(api: Api, store: RemoteStore) -> None:
    wait_until(lambda: store.figures()["following"] == "yes")
    peer = Peer(
        PrivateKey.generate().public(),
        (ipaddress.ip_network("10.8.0.77/32"),),
        PresharedKey.generate(),
        25,
        name="fleet",
    )
    with api.registry() as registry:
        registry.hand_out(peer, {"team": "infra"}, by=BY)
    found = store.lookup(peer.public_key)
    assert found is not None
    assert found.peer == peer
    assert api.local.patch("/v1/peers/fleet", json={"enabled": False}).status_code == 200
    wait_until(lambda: store.last_change() >= 1)
    found = store.lookup(peer.public_key)
    assert found is not None
    assert not found.peer.enabled
    before = store.last_change()
    assert api.local.delete("/v1/peers/fleet").status_code == 204
    wait_until(lambda: store.last_change() > before)
    assert store.lookup(peer.public_key) is None


def test_who_is_not_registered_is_unknown(store: RemoteStore) -> None:
    assert store.lookup(PrivateKey.generate().public()) is None
    assert store.figures()["failures"] == 0


def test_a_token_that_may_not_read_preshared_keys_is_an_error_and_no_peer_without_one(api: Api, tmp_path: Path) -> None:
    store = store_of(api, tmp_path, "read")
    try:
        with pytest.raises(StoreError, match=r"store\.token_file"):
            store.lookup(PrivateKey.generate().public())
    finally:
        store.close()


def segment(key: PublicKey) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def test_a_gateway_may_keep_what_it_is_told_and_nobody_else_may(api: Api) -> None:
    peer = Peer(PrivateKey.generate().public(), (ipaddress.ip_network("10.8.0.78/32"),))
    with api.registry() as registry:
        registry.hand_out(peer, {}, by=BY)
    path = f"/v1/peers/{segment(peer.public_key)}?preshared_key=true"
    kept, others = api.remote(api.token("gateway")), api.remote(api.token("admin"))
    answer = kept.get(path)
    assert answer.headers["Cache-Control"] == "private"
    again = kept.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "private")
    assert others.get(path).headers["Cache-Control"] == "no-store"
    assert api.local.get(path).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("raw", [b"\xff" * 32, b"\xfb\xef\xbe" * 10 + b"\x00\x00", bytes(range(32))])
def test_every_key_fits_into_a_path(api: Api, store: RemoteStore, raw: bytes) -> None:
    """In base64 the first has `/` alone, the second `+` alone."""
    assert store.lookup(PublicKey(raw)) is None
    host = ipaddress.ip_network(f"10.8.1.{raw[0]}/32")
    other = Peer(PublicKey(bytes([raw[0] ^ 1, *raw[1:]])), (host,))
    with api.registry() as registry:
        registry.hand_out(other, {}, by=BY)
    found = store.lookup(other.public_key)
    assert found is not None
    assert found.peer == other
    assert store.figures()["failures"] == 0


def test_who_is_named_like_a_key_is_not_taken_for_its_owner(api: Api, store: RemoteStore) -> None:
    """So a stranger's key stays unknown, rather than a fault of the registry."""
    unknown = PrivateKey.generate().public()
    named = Peer(PrivateKey.generate().public(), (ipaddress.ip_network("10.8.0.79/32"),), name="x")
    with api.registry() as registry:
        registry.hand_out(named, {}, by=BY)
    # As an older version would have let it be named.
    written_by_another(api.place, "UPDATE peers SET name = ? WHERE name = 'x'", (segment(unknown),))
    assert store.lookup(unknown) is None


def test_a_gateways_token_may_ask_as_often_as_a_gateway_does(own: Callable[..., Api]) -> None:
    """Its rate is of its own, and by default what `store.requests` is: also while other tokens may hardly ask."""
    api = own(config=CONFIG.replace("rate = 1000", "rate = 0.001"))
    gateway, reader = api.remote(api.token("gateway")), api.remote(api.token("read"))
    path = f"/v1/peers/{segment(PrivateKey.generate().public())}"
    assert {gateway.get(path).status_code for _ in range(50)} == {404}
    assert [reader.get(path).status_code for _ in range(2)] == [404, 429]


def hung_up(connection: ssl.SSLSocket, seconds: float) -> bool:
    """Wait until the server ends the connection; False if it sends nothing for so long."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    return True


def test_a_gateways_connection_is_kept_open_longer_than_others(api: Api) -> None:
    """For more than uvicorn's 5 s; else each client that comes after a pause waits for a TLS handshake."""
    trusted = ssl.create_default_context(cafile=api.folder / "cert.pem")
    host, _, port = str(api.about["listen"]).rpartition(":")

    def connected(token: str, status: bytes) -> ssl.SSLSocket:
        made = trusted.wrap_socket(socket.create_connection((host, int(port)), 30), server_hostname=host)
        made.sendall(f"GET /v1/count HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert made.recv(65536).startswith(b"HTTP/1.1 " + status)
        return made

    with connected(api.token("gateway"), b"200 ") as gateway, connected("nobody", b"401 ") as stranger:
        assert hung_up(stranger, 30.0)
        assert not hung_up(gateway, 0.5), "it was there first"
