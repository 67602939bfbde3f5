"""What a gateway says reaches the registry of record and the others, whatever fails in between."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.postgresql import Cluster
from lab.registry import LAB, LabPostgres
from tests.contracts.store import claim, key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.replicas import EPOCH, Gateways, describe, equal, gateways, holding, until
from tests.postgresql.test_connection import documented_grants
from wgjit.errors import GatewayNameTaken, StoreDeferred, StoreError
from wgjit.model import OtherGateway, Registration, Removed
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.replica import process
from wgjit.stores.replica.messages import Terms
from wgjit.stores.replica.store import ReplicaStore


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(url, tmp_path) as made:
        yield made


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A server that a test may stop."""
    with Cluster() as own:
        schema.init(DatabaseUrl(own.url()))
        yield own


@pytest.fixture
def record(own: Cluster) -> Iterator[LabPostgres]:
    with contextlib.closing(LabPostgres(DatabaseUrl(own.url()), timeout=5.0)) as registry:
        yield registry


@pytest.fixture
def its(own: Cluster, tmp_path: Path) -> Iterator[Gateways]:
    with gateways(own.url(), tmp_path) as made:
        yield made


def heard(store: ReplicaStore, after: int = 0) -> list[tuple[str, str]]:
    """The peers and gateways that a gateway hears of."""
    told = []
    while True:
        some, place = store.fleet.hear(after)
        told += [(str(each.public_key), each.gateway) for each in some]
        if place == after:
            return told
        after = place


# --- say and hear -----------------------------------------------------------------------------------------------


def test_what_one_says_the_other_hears(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1), peer(2)])
    one, two = fleet.make("gw1"), fleet.make("gw2")
    called = threading.Event()
    two.fleet.on_news(called.set)
    one.fleet.say([claim(1, 1000.0)], [holding(1, 1000.0)])
    until(lambda: two.fleet.hear(0)[0])
    assert called.wait(60)
    some, place = two.fleet.hear(0)
    assert some == [holding(1, 1000.0)]
    assert two.fleet.hear(place) == ([], place)
    assert two.fleet.hear(0, limit=0) == ([], place)
    assert one.fleet.hear(0)[0] == [], "its own"
    two.fleet.say([], [holding(1, 1001.0, "gw2")])
    until(lambda: one.fleet.hear(0)[0])
    assert one.fleet.hear(0)[0] == [holding(1, 1001.0, "gw2", before="gw1")]
    whole = Registration(peer(1), claim(1, 1000.0), holding(1, 1001.0, "gw2", before="gw1"))
    assert registry.lookup(key(1)) == whole
    until(lambda: one.lookup(key(1)) == two.lookup(key(1)) == whole)
    equal(one, url)
    equal(two, url)


def test_what_is_saved_but_not_said_stays_here(registry: LabPostgres, fleet: Gateways) -> None:
    registry.add([peer(1)])
    store = fleet.make()
    store.save_claims([claim(1, 5.0)])
    store.fleet.say([], [holding(1, 6.0)])
    until(lambda: registry.lookup(key(1)) == Registration(peer(1), None, holding(1, 6.0)))
    assert store.lookup(key(1)) == Registration(peer(1), claim(1, 5.0), holding(1, 6.0))
    store.save_claims([claim(1, 4.0)])
    assert store.lookup(key(1)) == Registration(peer(1), claim(1, 5.0), holding(1, 6.0))


def test_a_restarted_gateway_hears_what_its_former_process_said(registry: LabPostgres, fleet: Gateways) -> None:
    registry.add([peer(1), peer(2)])
    first = fleet.make()
    first.fleet.say([], [holding(1, 5.0)])
    first.close()
    assert registry.lookup(key(1)) == Registration(peer(1), None, holding(1, 5.0)), "the last is said at the end"
    second = fleet.make(epoch=EPOCH + 1)
    second.fleet.say([], [holding(2, 5.0, epoch=EPOCH + 1)])
    assert second.fleet.hear(0)[0] == [holding(1, 5.0)]


def test_who_loses_learns_of_it_from_the_answer(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1)])
    one, two = fleet.make("gw1", poll=600.0), fleet.make("gw2", poll=600.0)  # nobody reads what is new
    one.fleet.say([claim(1, 2000.0)], [holding(1, 2000.0)])
    until(lambda: (registry.lookup(key(1)) or Registration(peer(1))).holding)
    two.fleet.say([claim(1, 1000.0, "gw2")], [holding(1, 1000.0, "gw2")])
    until(lambda: two.lookup(key(1)) == Registration(peer(1), claim(1, 2000.0), holding(1, 2000.0)))
    assert two.fleet.hear(0)[0] == [holding(1, 2000.0)]
    equal(two, url)


def test_a_greater_one_is_said_again_when_a_smaller_one_of_another_gateway_comes(
    registry: LabPostgres, shell: Shell, fleet: Gateways
) -> None:
    """F7. The registry has lost it: a standby took its primary's place."""
    registry.add([peer(1)])
    store = fleet.make()
    store.fleet.say([claim(1, 2000.0)], [holding(1, 2000.0)])
    until(lambda: (registry.lookup(key(1)) or Registration(peer(1))).holding)
    shell.execute("SET session_replication_role = replica; DELETE FROM holdings; DELETE FROM claims")
    shell.execute("SET session_replication_role = DEFAULT")
    with schema.connect(DatabaseUrl(fleet.url)) as db:
        from wgjit.stores.postgresql.rows import claim_rows

        claim_rows.save_said(db, [claim(1, 1000.0, "gw2")], [holding(1, 1000.0, "gw2")])
    until(lambda: registry.lookup(key(1)) == Registration(peer(1), claim(1, 2000.0), holding(1, 2000.0, before="gw2")))


def test_the_same_peer_at_two_gateways_at_once_comes_to_one_holder(
    registry: LabPostgres, fleet: Gateways, url: str
) -> None:
    registry.add(peer(n) for n in range(1, 21))
    stores = [fleet.make(name) for name in ("gw1", "gw2", "gw3")]
    for seconds in range(1, 11):
        for store, name in zip(stores, ("gw1", "gw2", "gw3"), strict=True):
            store.fleet.say([], [holding(n, float(seconds), name) for n in range(1, 21)])
    for store in stores:
        equal(store, url)
    found = [registry.lookup(key(n)) for n in range(1, 21)]
    assert {each.holding.gateway for each in found if each and each.holding} == {"gw3"}, "a tie: the greater name"


# --- asking -----------------------------------------------------------------------------------------------------


def test_ask(registry: LabPostgres, fleet: Gateways) -> None:
    store = fleet.make(poll=600.0)
    registry.add([peer(1, "10.0.0.1/32"), peer(2), peer(4)])
    registry.save_claims([claim(1, 5.0), claim(2, 6.0)])
    registry.remove(key(2))
    store.fleet.say([], [holding(4, 9.0)])
    until(lambda: (registry.lookup(key(4)) or Registration(peer(4))).holding)
    assert store.lookup(key(1)) is None
    assert store.fleet.ask(key(1)) == Registration(peer(1, "10.0.0.1/32"), claim(1, 5.0))
    assert store.fleet.ask(key(2)) == Removed(key(2), claim(2, 6.0))
    assert store.fleet.ask(key(3)) is None
    assert store.fleet.ask(key(4)) == Registration(peer(4), None, holding(4, 9.0))
    until(lambda: store.lookup(key(1)) == Registration(peer(1, "10.0.0.1/32"), claim(1, 5.0)))
    until(lambda: store.former(key(2)) == Removed(key(2), claim(2, 6.0)))


def test_many_ask_for_many_at_once(registry: LabPostgres, fleet: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    from wgjit.stores.replica import fleet as module

    monkeypatch.setattr(module, "ASKING", 60.0)
    store = fleet.make(poll=600.0)
    registry.add(peer(n) for n in range(1, 101))
    wrong: list[object] = []

    def ask(n: int) -> None:
        if store.fleet.ask(key(n)) != (Registration(peer(n)) if n <= 100 else None):
            wrong.append(n)

    threads = [threading.Thread(target=ask, args=(n,)) for n in [*range(1, 121), *range(1, 31)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_too_many_keys_are_deferred(fleet: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fleet.make()
    monkeypatch.setattr(process, "MOST_ASKS", 0)
    with pytest.raises(StoreDeferred):
        store.fleet.ask(key(1))


# --- what fails -------------------------------------------------------------------------------------------------


def test_without_an_engine_all_goes_on_and_what_was_said_comes_later(
    own: Cluster, record: LabPostgres, its: Gateways
) -> None:
    record.add(peer(n, f"10.0.0.{n}/32") for n in range(1, 101))
    one, two = its.make("gw1"), its.make("gw2")
    own.kill()
    one.fleet.say([claim(n, 1000.0) for n in range(1, 101)], [holding(n, 1000.0) for n in range(1, 101)])
    one.fleet.say([], [holding(1, 1000.0, until=1001.0)])
    assert one.lookup(key(1)) == Registration(
        peer(1, "10.0.0.1/32"), claim(1, 1000.0), holding(1, 1000.0, until=1001.0)
    )
    with pytest.raises(StoreError):
        one.fleet.ask(key(200))
    until(one.fleet.is_behind)
    until(lambda: one.figures().get("outbox") == 200 and one.figures()["saying_fails"] and one.figures()["trouble"])
    assert one.lookup(key(200)) is None
    os.kill(one.figures()["pid"], signal.SIGKILL)  # the outbox is on disk
    own.start()
    until(lambda: len(heard(two)) == 100)
    equal(one, own.url())
    equal(two, own.url())
    until(lambda: not one.fleet.is_behind() and one.figures()["outbox"] == 0 and one.figures()["trouble"] is None)
    assert two.lookup(key(1)) == one.lookup(key(1))


def test_a_reset_while_the_engine_is_away_is_not_undone_by_what_was_said_before(
    own: Cluster, record: LabPostgres, its: Gateways
) -> None:
    record.add([peer(1), peer(2)])
    store = its.make()
    pid = store.figures()["pid"]
    os.kill(pid, signal.SIGSTOP)  # the gateway is cut off
    store.fleet.say([claim(n, 1000.0) for n in (1, 2)], [])
    record.save_claims([claim(1, 900.0)])
    record.claims.reset(key(1), by=LAB)
    own.kill()
    os.kill(pid, signal.SIGCONT)
    until(lambda: store.figures().get("saying_fails"))
    own.start()
    until(lambda: record.lookup(key(2)) == Registration(peer(2), claim(2, 1000.0)))
    until(lambda: store.figures()["outbox"] == 0)
    assert record.lookup(key(1)) == Registration(peer(1))
    assert store.lookup(key(1)) == Registration(peer(1))


def test_an_engine_that_hangs_holds_nobody_up(own: Cluster, record: LabPostgres, its: Gateways) -> None:
    record.add([peer(1)])
    store = its.make()
    own.hang()
    try:
        for seconds in range(50):
            store.fleet.say([claim(1, float(seconds))], [holding(1, float(seconds))])
            assert store.lookup(key(1)) is not None
            store.fleet.hear(0)
            store.fleet.set_residents(seconds)
        with pytest.raises(StoreError, match="no answer"):
            store.fleet.ask(key(2))
        until(store.fleet.is_behind)
        assert store.figures()["stage"] == "following"
    finally:
        own.go_on()
    until(lambda: (record.lookup(key(1)) or Registration(peer(1))).holding == holding(1, 49.0))
    equal(store, own.url())


def test_a_follower_that_hangs_holds_nobody_up(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1)])
    store = fleet.make()
    pid = store.figures()["pid"]
    os.kill(pid, signal.SIGSTOP)
    for seconds in range(3000):  # more than the socket takes
        store.fleet.set_residents(seconds)
    store.fleet.say([claim(1, 5.0)], [holding(1, 5.0)])
    with pytest.raises(StoreError):
        store.fleet.ask(key(2))
    assert store.lookup(key(1)) == Registration(peer(1), claim(1, 5.0), holding(1, 5.0))
    os.kill(pid, signal.SIGCONT)
    equal(store, url)


def test_a_follower_that_hangs_is_ended_at_the_end(fleet: Gateways) -> None:
    store = fleet.make()
    pid = store.figures()["pid"]
    os.kill(pid, signal.SIGSTOP)
    store.close()
    store.close()
    assert not Path(f"/proc/{pid}").exists()


def test_a_follower_that_dies_is_started_again(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1)])
    store = fleet.make()
    for deaths in (1, 2):
        os.kill(store.figures()["pid"], signal.SIGKILL)
        until(lambda deaths=deaths: store.figures()["restarts"] == deaths and store.figures()["pid"])
        assert store.figures()["last_end"] == "ended with status -9"
    store.fleet.say([claim(1, 5.0)], [])
    until(lambda: registry.lookup(key(1)) == Registration(peer(1), claim(1, 5.0)))


def test_the_follower_ends_with_its_gateway(url: str, tmp_path: Path) -> None:
    program = f"""
import time
from tests.postgresql.replicas import *
store = ReplicaStore({str(tmp_path / "gw.db")!r}, Terms({url!r}, describe()))
store.fleet.start(60)
print(store.figures()["pid"], flush=True)
time.sleep(600)
"""
    gateway = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert gateway.stdout is not None
        follower = int(gateway.stdout.readline())
        assert Path(f"/proc/{follower}").exists()
    finally:
        gateway.kill()
        gateway.wait()
        gateway.stdout.close()  # type: ignore[union-attr]
    until(lambda: not _runs(follower))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_signals_to_the_group_do_not_end_it_before_the_last_is_said(registry: LabPostgres, fleet: Gateways) -> None:
    registry.add([peer(1)])
    store = fleet.make()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(store.figures()["pid"], number)
    store.fleet.say([claim(1, 5.0)], [])
    store.close()
    assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 5.0))


def test_no_argument_variable_or_word_has_the_password(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "hunter2-Zq8"
    url = f"postgresql://nobody:{secret}@/nothing?host={cluster.folder}"
    monkeypatch.setenv("WGJIT_STORE_URL", url)
    terms = Terms(url, describe(), url)
    assert secret not in repr(terms)
    store = ReplicaStore(tmp_path / "gw.db", terms)
    try:
        store.fleet.start(60)
        until(lambda: store.figures().get("trouble") and store.figures().get("beating_fails"))
        with pytest.raises(StoreError) as failed:
            store.fleet.ask(key(1))
        folder = Path(f"/proc/{store.figures()['pid']}")
        said = [repr(store.figures()), str(failed.value), repr(store.fleet), *capfd.readouterr()]
        said += [(folder / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
        assert "nothing" in store.figures()["trouble"]
        assert not any(secret in each for each in said)
    finally:
        store.close()


def test_a_url_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    store = ReplicaStore(tmp_path / "gw.db", Terms("postgresql://u:secret@h/?nonsense=1", describe()))
    with pytest.raises(StoreError, match="libpq does not know") as failed:
        store.fleet.start(60)
    assert "secret" not in str(failed.value)
    store.close()


# --- the file ---------------------------------------------------------------------------------------------------


def test_a_locked_file_delays_and_loses_nothing(registry: LabPostgres, fleet: Gateways, url: str) -> None:
    registry.add([peer(1)])
    store = fleet.make()
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        registry.add([peer(2)])
        with pytest.raises(StoreError, match="is writing"):
            store.fleet.say([claim(1, 5.0)], [])
        until(lambda: store.figures()["trouble"])
        other.execute("ROLLBACK")
    until(lambda: store.lookup(key(2)))
    equal(store, url)
    until(lambda: store.figures()["trouble"] is None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "wgjit-test", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_delays_and_loses_nothing(
    registry: LabPostgres, fleet: Gateways, url: str, small_disk: Path
) -> None:
    registry.add([peer(1)])
    store = fleet.make(path=small_disk / "gw.db")
    filler = os.open(small_disk / "filler", os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(filler, bytes(4096))
    os.close(filler)
    registry.add(peer(n) for n in range(2, 3000))
    until(lambda: "disk" in (store.figures()["trouble"] or ""))
    assert store.lookup(key(1)) is not None
    assert store.fleet.ask(key(2999)) == Registration(peer(2999)), "asked for, although it cannot be kept"
    (small_disk / "filler").unlink()
    until(lambda: store.lookup(key(2999)))
    equal(store, url)
    until(lambda: store.figures()["trouble"] is None)


# --- gateways ---------------------------------------------------------------------------------------------------


def test_a_name_in_use_is_refused_at_the_start(registry: LabPostgres, shell: Shell, fleet: Gateways) -> None:
    first = fleet.make("paris")
    first.fleet.set_residents(7)
    until(lambda: [(g.name, g.residents) for g in registry.gateways.every()] == [("paris", 7)])
    other = fleet.make("paris", path=fleet.folder / "other.db", start=False)
    with pytest.raises(GatewayNameTaken, match=r"'paris'.*192.0.2.7") as refused:
        other.fleet.start(60)
    assert refused.value.field == "gateway.name"
    other.close()
    first.close()
    again = fleet.make("paris", epoch=EPOCH + 5)  # the same replica, so the same gateway
    assert [g.epoch for g in registry.gateways.every()] == [EPOCH + 5]
    assert again.fleet.name_taken() is None


def test_a_name_that_is_taken_later_is_told(registry: LabPostgres, shell: Shell, fleet: Gateways) -> None:
    first = fleet.make("paris")
    os.kill(first.figures()["pid"], signal.SIGSTOP)  # it is away for longer than ten seconds
    shell.execute("UPDATE gateways SET seen_at = seen_at - 60")
    fleet.make("paris", path=fleet.folder / "other.db")
    os.kill(first.figures()["pid"], signal.SIGCONT)
    until(first.fleet.name_taken)
    registry.add([peer(1)])
    until(lambda: first.lookup(key(1)))  # it goes on
    assert first.figures()["beat"] == "taken"


def test_gateways_with_another_key_are_told_by_name(fleet: Gateways) -> None:
    one = fleet.make("oslo")
    assert one.fleet.other_keys() == []
    two = fleet.make("paris", number=201)
    assert two.fleet.other_keys() == ["oslo"], "at its start"
    until(lambda: one.fleet.other_keys() == ["paris"])


def test_heartbeats_tell_of_the_gateway(registry: LabPostgres, fleet: Gateways) -> None:
    store = fleet.make("oslo")
    store.fleet.set_residents(5)
    entry = until(lambda: [g for g in registry.gateways.every() if g.residents == 5 and g.clock_offset is not None])[0]
    it = describe("oslo")
    assert (entry.name, entry.public_key, entry.interface) == ("oslo", it.public_key, "wg0")
    assert (entry.address, entry.version, entry.epoch, entry.lives) == ("192.0.2.7", "0.0.test", EPOCH, True)
    assert entry.started_at == EPOCH / 1000
    assert entry.lag is not None
    assert abs(entry.clock_offset or 0.0) < 5.0
    assert store.fleet.clock_offset() is not None


def test_the_documented_role_of_gateways_is_enough(
    registry: LabPostgres, shell: Shell, cluster: Cluster, fleet: Gateways, url: str
) -> None:
    shell.execute("CREATE ROLE gateways LOGIN; CREATE ROLE managers LOGIN")
    try:
        shell.execute(documented_grants())
        registry.add([peer(1, "10.0.0.1/32"), peer(2)])
        name = url.partition("@/")[2].partition("?")[0]
        store = fleet.make(url=cluster.url(name, "gateways"))
        store.fleet.say([claim(1, 5.0)], [holding(1, 5.0)])
        until(lambda: (registry.lookup(key(1)) or Registration(peer(1))).holding)
        registry.claims.reset(key(1), by=LAB)
        registry.remove(key(2))
        equal(store, url)
        assert store.fleet.ask(key(3)) is None
        assert store.figures()["beat"] == "ok"
        assert store.fleet.trouble() is None
        with contextlib.closing(LabPostgres(DatabaseUrl(cluster.url(name, "managers")))) as manager:
            assert [gateway.name for gateway in manager.gateways.every()] == ["gw1"]
            store.close()
            shell.execute("UPDATE gateways SET seen_at = seen_at - 60")
            manager.gateways.forget("gw1", by=LAB)
    finally:
        shell.execute("".join(f"DROP OWNED BY {role}; DROP ROLE {role}; " for role in ("gateways", "managers")))


def test_a_gateway_that_drains_is_told_of_at_once(registry: LabPostgres, fleet: Gateways) -> None:
    """Others have it in their replicas, so that they know it also while the registry of record is away."""
    shared = "192.0.2.1,2001:db8::1"
    oslo, paris = fleet.make("oslo", service=shared), fleet.make("paris")
    assert until(lambda: [g.service for g in registry.gateways.every()]) == [shared, None]
    addresses = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    until(lambda: paris.fleet.others() == [OtherGateway("oslo", True, False, addresses)])
    until(lambda: oslo.fleet.others() == [OtherGateway("paris", True)])
    oslo.fleet.set_draining(True)
    until(lambda: [g.draining for g in registry.gateways.every()] == [True, False])
    until(lambda: paris.fleet.others() == [OtherGateway("oslo", True, True, addresses)])
    oslo.fleet.set_draining(False)
    until(lambda: paris.fleet.others() == [OtherGateway("oslo", True, False, addresses)])


def test_who_lives_is_not_known_without_heartbeats(shell: Shell, fleet: Gateways) -> None:
    fleet.make("oslo")
    paris = fleet.make("paris")
    until(lambda: paris.fleet.others() == [OtherGateway("oslo", True)])
    shell.execute("ALTER TABLE gateways RENAME TO gone")
    until(lambda: paris.fleet.others() == [OtherGateway("oslo", False)])
    shell.execute("ALTER TABLE gone RENAME TO gateways")
    until(lambda: paris.fleet.others() == [OtherGateway("oslo", True)])
