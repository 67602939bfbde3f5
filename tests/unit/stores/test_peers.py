"""What people do with a registry: handles, labels, new keys, removing many."""

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.registry import LabRegistry
from tests.contracts.store import FULL, claim, key, peer
from wgjit.errors import AddressConflict, AmbiguousHandle, InvalidValue, NoSuchPeer, PeerExists, StoreBusy
from wgjit.model import ChangeKind, Peer, PublicKey, Registration
from wgjit.stores import label_rules
from wgjit.stores.entries import Filter, Page
from wgjit.stores.sqlite.rows import listing


@pytest.fixture
def registry(path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(path, timeout=0.5)) as registry:
        yield registry


# --- handles ------------------------------------------------------------------------------------------------

AB, AC = PublicKey(b"\x00\x10\x83" + bytes(29)), PublicKey(b"\x00\x10\x83" + b"\xff" * 29)  # ABCD...


def test_a_peer_is_meant_by_name_key_its_beginning_or_address(registry: LabRegistry) -> None:
    registry.add([FULL, Peer(AB)])
    for handle in ("alice's phone", str(key(7)), str(key(7))[:4], str(key(7))[:43], "10.8.0.7", "10.8.0.7/32"):
        assert registry.peers.resolve(handle) == key(7), handle
    for handle in ("10.9.0.0/24", "10.9.0.200", "10.9.0.128/25", "fd00::7", "fd00:1::abcd"):
        assert registry.peers.resolve(handle) == key(7), handle
    assert registry.peers.resolve("ABCD") == AB
    for handle in (
        "10.8.0.8",
        "10.9.0.0/23",
        "10.9.1.0",
        "alice",
        "AAAZ",
        "ABC",
        "ABCE",
        "10.8.0.7/33",
        "",
        str(key(1)),
    ):
        with pytest.raises(NoSuchPeer):
            registry.peers.resolve(handle)


def test_a_beginning_that_several_keys_have_names_them(registry: LabRegistry) -> None:
    registry.add([Peer(AB, name="one"), Peer(AC)])
    with pytest.raises(AmbiguousHandle) as error:
        registry.peers.resolve("ABCD")
    assert str(error.value) == f"handle 'ABCD': write more of the key; it begins {AB} ('one'), {AC}"
    assert registry.peers.resolve("ABCDA") == AB
    assert registry.peers.resolve("ABCD/") == AC
    registry.add(Peer(PublicKey(b"\x00\x10\x83" + bytes([n]) * 29)) for n in range(1, 10))
    with pytest.raises(AmbiguousHandle, match=r", and more$"):
        registry.peers.resolve("ABCD")
    registry.add([peer(2, name="ABCD")])
    assert registry.peers.resolve("ABCD") == key(2)  # a whole name comes first


@pytest.mark.parametrize("name", ["10.8.0.7", "10.8.0.7/32", "10.9.0.0/24", "10.9.0.77", "fd00::7"])
def test_a_name_that_is_another_peers_address_means_neither(registry: LabRegistry, name: str) -> None:
    registry.add([FULL, peer(2, name=name)])
    with pytest.raises(AmbiguousHandle) as error:
        registry.peers.resolve(name)
    assert str(error.value) == (
        f"handle '{name}': is the name of peer {key(2)}, and an address of peer {key(7)}; "
        "write the whole key of the one that you mean"
    )
    assert registry.peers.resolve(str(key(2))) == key(2)
    with pytest.raises(AmbiguousHandle):
        registry.peers.registration(name)
    with pytest.raises(AmbiguousHandle):
        registry.claims.holder(name)


def test_a_name_that_is_its_own_peers_address_means_that_peer(registry: LabRegistry) -> None:
    registry.add([peer(2, "10.8.0.2/32", name="10.8.0.2"), Peer(AB, name="ABCDAA")])
    assert registry.peers.resolve("10.8.0.2") == key(2)
    assert registry.peers.resolve("ABCDAA") == AB


def test_a_name_that_begins_like_another_peers_key_means_neither(registry: LabRegistry) -> None:
    registry.add([Peer(AB), peer(2, name="ABCDAA"), peer(3, name="ABCDAA" + "A" * 20), peer(4, name="ABCDA")])
    for name in ("ABCDAA", "ABCDAA" + "A" * 20):
        with pytest.raises(AmbiguousHandle, match="the beginning of the key of peer"):
            registry.peers.resolve(name)
    assert registry.peers.resolve("ABCDA") == key(4), "so short a name begins a key by chance"


@pytest.mark.parametrize("length", range(4, 44))
def test_every_length_of_beginning_means_its_key(registry: LabRegistry, length: int) -> None:
    keys = [PublicKey(bytes([n]) * 32) for n in (0, 1, 127, 128, 254, 255)]
    registry.add(map(Peer, keys))
    assert [registry.peers.resolve(str(each)[:length]) for each in keys] == keys


# --- labels -------------------------------------------------------------------------------------------------


def test_labels_come_and_go_with_their_peer(registry: LabRegistry, shell: sqlite3.Connection) -> None:
    registry.hand_out(peer(1, name="alice"), {"team": "infra", "floor": "3"})
    assert registry.peers.labels(key(1)) == {"floor": "3", "team": "infra"}
    entry = registry.amend(key(1), lambda old: old, {"team": "sales"}, ["floor", "never-had"])
    assert entry.labels == registry.peers.labels(key(1)) == {"team": "sales"}
    assert registry.last_change() == 0  # nothing that a gateway needs to know
    with pytest.raises(PeerExists):
        registry.hand_out(peer(2, name="alice"), {"a": "b"})
    registry.hand_out(peer(2), {})
    with pytest.raises(PeerExists):
        registry.amend(key(2), lambda old: dataclasses.replace(old, name="alice"), {"a": "b"})
    assert registry.peers.labels(key(2)) == {}
    registry.remove(key(1))
    assert shell.execute("SELECT count(*) FROM labels").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO labels VALUES (zeroblob(32), 'team', 'infra')",
        "INSERT INTO labels SELECT public_key, '', 'x' FROM peers",
        "INSERT INTO labels SELECT public_key, 'k', '' FROM peers",
        "UPDATE labels SET public_key = zeroblob(32)",
    ],
)
def test_no_writer_breaks_the_rules_of_labels(registry: LabRegistry, shell: sqlite3.Connection, statement: str) -> None:
    registry.hand_out(peer(1), {"team": "infra"})
    with pytest.raises(sqlite3.IntegrityError):
        shell.execute(statement)


@pytest.mark.parametrize("text", ["team=infra", "a/b.c_d-e=x", "k=a=b", "k=zwölf Äpfel"])
def test_labels_are_read(text: str) -> None:
    key_, value = label_rules.parse_label(text)
    assert f"{key_}={value}" == text


@pytest.mark.parametrize(
    "text",
    ["", "team", "=x", "team=", "team= x", "-a=b", "a b=c", "k=a\nb", "k=\x1b[1m", "k" * 64 + "=v", "k=" + "v" * 201],
)
def test_bad_labels_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^label "):
        label_rules.parse_label(text)


def test_a_label_is_given_one_value() -> None:
    assert label_rules.parse_labels(["a=1", "a=1", "b=2"]) == {"a": "1", "b": "2"}
    with pytest.raises(InvalidValue, match="label a: given twice"):
        label_rules.parse_labels(["a=1", "a=2"])


# --- rotate, remove -----------------------------------------------------------------------------------------


def test_rotate_changes_the_key_and_drops_the_claim(registry: LabRegistry) -> None:
    registry.hand_out(FULL, {"team": "infra"})
    registry.save_claims([claim(7, 1000.0)])
    new = registry.rotate(key(7), key(8))
    assert new == dataclasses.replace(FULL, public_key=key(8))
    assert registry.lookup(key(8)) == Registration(new, None)
    assert registry.peers.labels(key(8)) == {"team": "infra"}
    assert registry.lookup(key(7)) is None
    assert [(c.kind, c.public_key) for c in registry.changes(0)] == [(ChangeKind.REMOVED, key(7))]
    with pytest.raises(AddressConflict):
        registry.add([peer(9, "10.8.0.7/32")])


def test_a_rotation_that_fails_changes_nothing(registry: LabRegistry) -> None:
    registry.hand_out(FULL, {"team": "infra"})
    registry.add([peer(1)])
    registry.save_claims([claim(7, 1000.0)])

    def fails(_: Peer) -> None:
        raise OSError("disk full")

    with pytest.raises(PeerExists):
        registry.rotate(key(7), key(1))
    with pytest.raises(OSError, match="disk full"):
        registry.rotate(key(7), key(8), fails)
    with pytest.raises(NoSuchPeer):
        registry.rotate(key(5), key(8))
    assert registry.lookup(key(7)) == Registration(FULL, claim(7, 1000.0))
    assert registry.peers.labels(key(7)) == {"team": "infra"}
    assert registry.last_change() == 0


def test_remove_fitting_leaves_a_peer_that_does_not_fit_any_more(
    registry: LabRegistry, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program changes a peer when the page was read, before its peers are removed: it waits, or it is heard."""
    for number in (1, 2):
        registry.hand_out(peer(number), {"team": "guests"})
    read, changed = listing.page, []

    def stale(*arguments: Any) -> Page:
        page = read(*arguments)
        with contextlib.closing(LabRegistry(path, timeout=0.05)) as other, contextlib.suppress(StoreBusy):
            other.amend(key(1), lambda each: each, {"team": "staff"})
            changed.append(key(1))
        return page

    monkeypatch.setattr("wgjit.stores.sqlite.peers.listing.page", stale)
    registry.remove_fitting(Filter({"team": "guests"}))
    monkeypatch.undo()
    assert [each.public_key for each in registry.peers.every()] == changed


def test_remove_all_and_remove_fitting(registry: LabRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.stores.sqlite.peers._PAGE", 3)
    for number in range(1, 21):
        registry.hand_out(peer(number), {"parity": "even" if number % 2 == 0 else "odd"})
    assert registry.remove_all([key(1), key(3), key(99)]) == 2
    assert registry.remove_fitting(Filter({"parity": "even"})) == 10
    assert [p.public_key for p in registry.peers.every()] == [key(number) for number in range(5, 21, 2)]
