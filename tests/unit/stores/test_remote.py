"""The remote store against the example server, over real TLS."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from lab.registry_service import RegistryService, wait_until
from wgjit.config import load_config
from wgjit.daemon.open_store import terms as terms_of
from wgjit.errors import StoreError
from wgjit.model import NEVER, Claim, Endpoint, Peer, PresharedKey, PrivateKey, PublicKey, Removed, Tai64n
from wgjit.stores.remote import events as remote_events
from wgjit.stores.remote.store import RemoteStore


def peer(number: int = 2, **values: object) -> Peer:
    key = PrivateKey.generate().public()
    made = Peer(key, (ipaddress.ip_network(f"10.8.0.{number}/32"),), PresharedKey.generate(), 25)
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RegistryService]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with RegistryService(tmp_path, port) as service:
        wait_until(service.answers)
        yield service


@pytest.fixture
def opened(service: RegistryService) -> Iterator[list[RemoteStore]]:
    """Stores to close at the end."""
    stores: list[RemoteStore] = []
    yield stores
    for store in stores:
        store.close()


def store_of(service: RegistryService, opened: list[RemoteStore], **changed: Any) -> RemoteStore:
    path = service.folder / "gateway.toml"
    path.write_text(f"[gateway]\nhold_deadline = 4\n{service.settings}")
    config = load_config(path)
    terms = dataclasses.replace(terms_of(config), **{"timeout": 2.0, "negative_time_to_live": 3600.0} | changed)
    store = RemoteStore(terms, config.store_path("wg0"))
    opened.append(store)
    return store


def following(store: RemoteStore) -> bool:
    return bool(store.figures()["following"] == "yes")


def test_a_peer_is_asked_for_once_and_known_from_then_on(service: RegistryService, opened: list[RemoteStore]) -> None:
    known = peer()
    service.put(known)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    for _ in range(3):
        found = store.lookup(known.public_key)
        assert found is not None
        assert found.peer == known
        assert found.claim is None
    wait_until(lambda: service.asked == [str(known.public_key)])


def test_an_unknown_key_is_no_peer_and_not_asked_for_again(service: RegistryService, opened: list[RemoteStore]) -> None:
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    key = peer().public_key
    assert [store.lookup(key) for _ in range(3)] == [None] * 3
    wait_until(lambda: service.asked == [str(key)])


def test_an_added_peer_counts_as_soon_as_the_service_says_so(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    late = peer()
    assert store.lookup(late.public_key) is None
    service.put(late)
    wait_until(lambda: store.lookup(late.public_key) is not None)


def test_a_removal_counts_without_asking_and_is_in_the_log(service: RegistryService, opened: list[RemoteStore]) -> None:
    gone = peer()
    service.put(gone)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    assert store.lookup(gone.public_key)
    before = store.last_change()
    service.remove(gone)
    wait_until(lambda: store.last_change() > before)
    assert [change.public_key for change in store.changes(before)] == [gone.public_key]
    assert store.lookup(gone.public_key) is None
    assert service.asked == [str(gone.public_key)]


def test_a_change_is_asked_for_anew(service: RegistryService, opened: list[RemoteStore]) -> None:
    known = peer()
    service.put(known)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    assert store.lookup(known.public_key)
    service.put(dataclasses.replace(known, enabled=False))
    wait_until(lambda: store.last_change() > 0)
    found = store.lookup(known.public_key)
    assert found is not None
    assert not found.peer.enabled


def test_stale_answers_serve_while_nobody_answers_but_not_for_what_was_revoked(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    kept, gone = peer(2), peer(3)
    service.put(kept)
    service.put(gone)
    store = store_of(service, opened, time_to_live=1)
    wait_until(lambda: following(store))
    assert store.lookup(kept.public_key)
    assert store.lookup(gone.public_key)
    service.remove(gone)
    wait_until(lambda: store.last_change() > 0)
    service.down()
    time.sleep(1.1)  # the time to live
    found = store.lookup(kept.public_key)
    assert found is not None
    assert found.peer == kept
    assert store.figures()["stale_answers"] == 1
    assert store.lookup(gone.public_key) is None
    with pytest.raises(StoreError, match=r"store\.url"):
        store.lookup(peer(4).public_key)


def test_without_stale_answers_nobody_gets_in_while_the_service_is_down(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    kept = peer()
    service.put(kept)
    store = store_of(service, opened, time_to_live=1, stale=0)
    wait_until(lambda: following(store))
    assert store.lookup(kept.public_key)
    service.down()
    time.sleep(1.1)
    with pytest.raises(StoreError):
        store.lookup(kept.public_key)


def test_a_service_that_is_down_is_asked_once_a_second_and_found_again(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    known = peer()
    service.put(known)
    store = store_of(service, opened)
    service.down()
    for number in range(50):
        with pytest.raises(StoreError):
            store.lookup(peer(number + 3).public_key)
    assert store.figures()["requests"] < 10
    assert not store.figures()["reachable"]
    service.up()
    wait_until(service.answers)

    def found() -> bool:
        try:
            return store.lookup(known.public_key) is not None
        except StoreError:
            return False

    wait_until(found)
    assert store.figures()["reachable"]


def test_many_at_once_ask_for_one_key_once(service: RegistryService, opened: list[RemoteStore]) -> None:
    known = peer()
    service.put(known)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(store.lookup(known.public_key))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 30
    assert all(results)
    wait_until(lambda: bool(service.asked))
    assert service.asked == [str(known.public_key)]


def test_no_more_is_asked_than_the_budget_allows(service: RegistryService, opened: list[RemoteStore]) -> None:
    store = store_of(service, opened, requests=2, follow=False)
    outcomes = []
    for number in range(20):
        try:
            store.lookup(peer(number + 2).public_key)
            outcomes.append("")
        except StoreError as error:
            outcomes.append(str(error))
    assert outcomes.count("") == store.figures()["requests"]
    assert any("requests a second are used up" in text for text in outcomes)


def test_answers_and_claims_outlive_the_process(service: RegistryService, opened: list[RemoteStore]) -> None:
    known = peer()
    service.put(known)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    assert store.lookup(known.public_key)
    stamp = Tai64n.from_unix(time.time())
    store.save_claims([Claim(known.public_key, stamp, "fra1", Endpoint.parse("192.0.2.1:5"), 1.0)])
    store.close()
    service.down()
    again = store_of(service, opened)
    found = again.lookup(known.public_key)
    assert found is not None
    assert found.peer == known
    assert found.claim is not None
    assert found.claim.timestamp == stamp


def test_pinned_peers_that_were_told_of_are_known_to_the_next_process(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    pinned, other, disabled = peer(2, idle_timeout=NEVER), peer(3), peer(4, idle_timeout=NEVER, enabled=False)
    for each in (pinned, other, disabled):
        service.put(each, idle_timeout=each.idle_timeout)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    before = store.pinned_version()
    assert store.pinned() == []
    for each in (pinned, other, disabled):
        store.lookup(each.public_key)
    assert store.pinned() == [pinned.public_key]
    assert store.pinned_version() != before
    store.close()
    service.down()
    again = store_of(service, opened)
    assert again.pinned() == [pinned.public_key]
    assert again.pinned(pinned.public_key) == []


def test_who_was_known_and_is_no_more_is_told_from_who_never_was(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    """Also by the next process, and with its claim."""
    gone, never = peer(), peer()
    service.put(gone)
    store = store_of(service, opened)
    wait_until(lambda: following(store))
    assert store.lookup(gone.public_key)
    assert store.former(gone.public_key) is None
    claim = Claim(gone.public_key, Tai64n.from_unix(5.0), "fra1", Endpoint.parse("192.0.2.1:5"), 5.0)
    store.save_claims([claim])
    service.remove(gone)
    wait_until(lambda: store.lookup(gone.public_key) is None)
    assert store.lookup(never.public_key) is None
    assert store.former(gone.public_key) == Removed(gone.public_key, claim)
    assert store.former(never.public_key) is None
    store.close()
    again = store_of(service, opened)
    assert again.former(gone.public_key) == Removed(gone.public_key, claim)
    assert again.identity() == store.identity()


def test_those_that_matter_are_asked_for_again_when_their_answer_grows_old(
    service: RegistryService, opened: list[RemoteStore]
) -> None:
    resident = peer()
    service.put(resident)
    store = store_of(service, opened, time_to_live=1, follow=False)
    assert store.lookup(resident.public_key)
    store.keep_fresh(lambda: {resident.public_key})
    service.remove(resident)
    wait_until(lambda: store.last_change() > 0)
    assert store.lookup(resident.public_key) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"has_preshared_key": True, "preshared_key": None}, "preshared_key"),
        ({"allowed_ips": ["10.8.0.0/99"]}, "allowed IP"),
        ({"keepalive": -1}, "keepalive"),
        ({"public_key": "aGFuZGVkIG91dCBieSB0aGUgb2ZmaWNlIHJvdXRlci4="}, "another's"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_and_no_secret_is_in_it(
    service: RegistryService, opened: list[RemoteStore], fields: dict[str, object], says: str
) -> None:
    wrong = peer()
    service.put(wrong, **fields)
    store = store_of(service, opened)
    with pytest.raises(StoreError, match=says) as caught:
        store.lookup(wrong.public_key)
    assert wrong.preshared_key is not None
    assert wrong.preshared_key.reveal_base64() not in str(caught.value)


def test_a_wrong_token_is_told_and_a_new_one_is_read(service: RegistryService, opened: list[RemoteStore]) -> None:
    known = peer()
    service.put(known)
    good = service.token_file.read_text()
    service.token_file.write_text("another\n")
    store = store_of(service, opened, follow=False)
    with pytest.raises(StoreError, match=r"store\.token_file"):
        store.lookup(known.public_key)
    service.token_file.write_text(good)
    assert store.lookup(known.public_key)


def test_a_certificate_of_somebody_else_is_refused(service: RegistryService, opened: list[RemoteStore]) -> None:
    other = service.folder / "other"
    other.mkdir()
    strange = RegistryService(other, service.port)
    service.certificate.write_bytes(strange.certificate.read_bytes())
    store = store_of(service, opened, follow=False)
    with pytest.raises(StoreError, match=r"certificate is refused.*store\.ca_file"):
        store.lookup(PublicKey(bytes(range(32))))
    assert service.asked == []


def test_a_cache_that_is_damaged_stops_nobody(service: RegistryService, opened: list[RemoteStore]) -> None:
    known = peer()
    service.put(known)
    (service.folder / "answers.db").write_bytes(b"nothing that SQLite knows" * 1000)
    store = store_of(service, opened)
    found = store.lookup(known.public_key)
    assert found is not None
    assert found.peer == known


def test_a_stream_that_stays_broken_is_told_once_and_so_is_its_end(
    service: RegistryService, opened: list[RemoteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_events, "LONGEST", 0.1)
    with capture_logs() as told:
        store = store_of(service, opened)
        wait_until(lambda: following(store))
        service.down()
        wait_until(lambda: store._figures["stream_failures"] >= 3)
        service.up()
        wait_until(lambda: following(store))
    lines = [(entry["log_level"], entry["event"]) for entry in told if "event stream" in entry["event"]]
    assert [level for level, _ in lines] == ["warning", "info"]
