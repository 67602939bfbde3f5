"""wgjit's own API answers what a gateway asks a registry elsewhere: one registry for a fleet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.registry_service import wait_until
from tests.unit.api.conftest import BY, Api
from wgjit.config import load_config
from wgjit.daemon.open_store import open_store
from wgjit.errors import StoreError
from wgjit.model import Peer, PresharedKey, PrivateKey
from wgjit.stores.remote import RemoteStore


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
