"""A fleet in trouble: the failure table of docs/FLEET.md, row by row.

Whatever happens to the engine or to the way to it, sessions go on and registered clients connect. What gateways could
not say meanwhile they say later.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.roamer import Roamer
from lab.fleet.engine import Engine
from lab.fleet.site import Fleet
from lab.gateway import GatewayFailed
from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.floating import holder
from tests.contracts.gateway_site import LONG, seamless, wait_for
from tests.contracts.gateway_witness import steady
from wgjit.model import Peer, PrivateKey, PublicKey
from wgjit.stores.postgresql.database import schema


class OutageContract:
    """Subclass with a `backend`. Most tests use a module's `fleet`, and a fixture heals it afterwards."""

    backend: Backend

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        """Four megabytes of disk of its own."""
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "wgjit-test", tmp_path], check=True)
        yield tmp_path
        subprocess.run(["umount", "-l", tmp_path], check=True)

    # --- the engine -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("how", ["stopped", "killed", "hanging", "cut off"])
    def test_without_the_engine_nobody_is_refused_and_no_session_ends(self, fleet: Fleet, how: str) -> None:
        a, b = fleet.members
        staying, moving, new = fleet.client(a), fleet.client(a), fleet.client(b)
        machine = fleet.machine()
        others = [Roamer(fleet, machine).register() for _ in range(20)]
        assert seamless(moving.first_ping(a.inside))
        assert seamless(staying.first_ping(a.inside))
        wait_for(lambda: {holder(fleet, client) for client in (staying, moving)} == {"a"})
        moved = [member.count("departures", "moved") for member in fleet.members]
        with steady(staying):
            with gone(fleet, how):
                assert seamless(new.first_ping(b.inside))
                moving.move(b)
                assert seamless(moving.first_ping(b.inside))
                for other, member in zip(others, itertools.cycle(fleet.members), strict=False):
                    assert seamless(other.connect(member))
                wait_for(lambda: not any(member.hears_the_engine() for member in fleet.members))
                assert a.knows(moving.public_key)
            expected = dict(zip(others, itertools.cycle("ab"), strict=False))
            wait_for(lambda: all(holder(fleet, other) == name for other, name in expected.items()))
            wait_for(lambda: (holder(fleet, new), holder(fleet, moving)) == ("b", "b"))
            assert a.let_go(moving.public_key, LONG) is not None
            wait_for(lambda: all(member.hears_the_engine() for member in fleet.members))
            late = fleet.client(a)
            assert seamless(late.first_ping(a.inside))
        assert [member.count("departures", "moved") for member in fleet.members] == [moved[0] + 1, moved[1]]

    def test_the_engine_fails_over_under_load(self, lab: Lab) -> None:
        """What the standby never got is said again: the new primary knows who holds whom."""
        with Engine(lab, standby=True) as engine, Fleet(lab, engine, self.backend) as fleet:
            standby = engine.standby
            assert standby is not None
            fleet.up()
            a, b = fleet.members
            staying, machine = fleet.client(a), fleet.machine()
            assert seamless(staying.first_ping(a.inside))
            early, late, during = ([Roamer(fleet, machine).register() for _ in range(10)] for _ in range(3))
            with steady(staying):
                for roamer in early:
                    assert seamless(roamer.connect(a))
                wait_for(lambda: all(holder(fleet, roamer) == "a" for roamer in early))
                standby.catch_up()
                standby.hang()
                for roamer in early + late:
                    assert seamless(roamer.connect(b))
                wait_for(lambda: all(holder(fleet, roamer) == "b" for roamer in early + late))
                engine.primary.kill()
                with ThreadPoolExecutor(1) as aside:
                    load = aside.submit(lambda: [roamer.connect(a) for roamer in during])
                    standby.go_on()
                    standby.promote()
                    assert all(map(seamless, load.result()))
                fleet.reopen()
                wait_for(lambda: all(holder(fleet, roamer) == "b" for roamer in early + late))
                wait_for(lambda: all(holder(fleet, roamer) == "a" for roamer in during))
                assert holder(fleet, staying) == "a"
                assert seamless(fleet.client(b).first_ping(b.inside))
            assert {roamer.public_key for roamer in early + late} <= b.residents()

    # --- a gateway ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("engine_too", [False, True], ids=["alone", "and the engine dies"])
    def test_a_gateway_that_is_cut_off_serves_and_learns_later(self, fleet: Fleet, engine_too: bool) -> None:
        a, b = fleet.members
        staying, leaving, coming, revoked = (fleet.client(at) for at in (a, a, b, a))
        for client, member in ((staying, a), (leaving, a), (coming, b), (revoked, a)):
            assert seamless(client.first_ping(member.inside))
        wait_for(lambda: [holder(fleet, client) for client in (leaving, coming, revoked)] == ["a", "b", "a"])
        with steady(staying):
            a.link.cut()
            try:
                if engine_too:
                    fleet.engine.primary.kill()
                coming.move(a)
                assert seamless(coming.first_ping(a.inside))
                leaving.move(b)
                assert seamless(leaving.first_ping(b.inside))
                if engine_too:
                    fleet.engine.primary.start()
                    fleet.reopen()
                fleet.registry.remove(revoked.public_key)
                unheard = fleet.client(a, known=False)
                wait_for(lambda: b.knows(unheard.public_key))
                assert unheard.first_ping(a.inside, timeout=1.0) is None, "nobody can know it here"
                wait_for(lambda: holder(fleet, leaving) == "b")
                assert leaving.public_key in a.residents()
                assert coming.public_key in b.residents()
            finally:
                a.link.mend()
            assert a.let_go(leaving.public_key, LONG) is not None
            assert a.let_go(revoked.public_key, LONG) is not None
            assert b.let_go(coming.public_key, LONG) is not None
            wait_for(lambda: [holder(fleet, client) for client in (leaving, coming)] == ["b", "a"])
            wait_for(lambda: unheard.ping(a.inside, timeout=6.0) is not None)
        assert seamless(coming.ping(a.inside))
        assert seamless(leaving.ping(b.inside))

    def test_a_daemon_that_died_lets_go_of_who_has_moved_meanwhile(self, fleet: Fleet) -> None:
        a, b = fleet.members
        staying, leaving = fleet.client(a), fleet.client(a)
        for client in (staying, leaving):
            assert seamless(client.first_ping(a.inside))
        wait_for(lambda: [holder(fleet, client) for client in (staying, leaving)] == ["a", "a"])
        with steady(staying):
            a.kill()
            leaving.move(b)
            assert seamless(leaving.first_ping(b.inside))
            wait_for(lambda: holder(fleet, leaving) == "b")
            assert leaving.public_key in a.residents()
            a.up()
            assert a.let_go(leaving.public_key, LONG) is not None
        assert holder(fleet, staying) == "a"
        assert staying.public_key in a.residents()

    # --- the replica ----------------------------------------------------------------------------------------

    def test_a_replica_that_is_deleted_is_made_anew(self, fleet: Fleet) -> None:
        a, b = fleet.members
        staying, coming = fleet.client(a), fleet.client(b)
        assert seamless(staying.first_ping(a.inside))
        assert seamless(coming.first_ping(b.inside))
        with steady(staying):
            for path in a.replica.parent.glob(f"{a.replica.name}*"):
                path.unlink()
            wait_for(lambda: a.knows(staying.public_key))
            coming.move(a)
            assert seamless(coming.first_ping(a.inside))
            assert b.let_go(coming.public_key, LONG) is not None
            assert seamless(fleet.client(a).first_ping(a.inside))
        assert staying.public_key in a.residents()

    def test_a_replica_on_a_full_disk_serves_what_it_has(self, lab: Lab, engine: Engine, disk: Path) -> None:
        with Fleet(lab, engine, self.backend) as fleet:
            a, _ = fleet.members
            a.replica = disk / "a.replica.db"
            fleet.up()
            staying, known = fleet.client(a), fleet.client(a)
            assert seamless(staying.first_ping(a.inside))
            filler = disk / "filler"
            with steady(staying):
                fill(filler)
                fleet.registry.fill(crowd(2000))  # more than what is left in the file's last pages
                wait_for(lambda: bool(a.status()["faults"]) or not a.hears_the_engine())
                assert seamless(known.first_ping(a.inside))
                assert fleet.client(a, known=False).first_ping(a.inside, LONG) is not None, "it is asked for"
                filler.unlink()
                late = fleet.client(a)
                assert seamless(late.first_ping(a.inside))
            wait_for(lambda: holder(fleet, known) == "a")

    def test_clients_connect_while_the_replica_is_being_made(self, lab: Lab, engine: Engine) -> None:
        with Fleet(lab, engine, self.backend) as fleet:
            a, _ = fleet.members
            last, unknown = fleet.client(a, private_key=late_key()), fleet.client(a, registered=False)
            fleet.registry.fill(crowd(2000))
            fleet.registry.add([Peer(PublicKey(bytes([9]) * 32), THREE)])
            with copy_held(fleet) as is_held:
                a.up()
                wait_for(is_held)
                assert not a.knows(last.public_key)
                assert last.first_ping(a.inside, LONG) is not None, "it is asked for"
                with a.running.feed() as feed:
                    assert unknown.first_ping(a.inside, timeout=1.0) is None
                    assert feed.next(public_key=str(unknown.public_key))["refusal"] in ("unknown", "store_failed")
            wait_for(lambda: a.knows(last.public_key))
            assert last.public_key in a.residents()

    # --- versions -------------------------------------------------------------------------------------------

    def test_a_newer_schema_stops_no_gateway(self, fleet: Fleet) -> None:
        """Somebody has run `wgjit registry init` with a newer version: these gateways have to be upgraded, not now."""
        a, b = fleet.members
        staying, new = fleet.client(a), fleet.client(b)
        assert seamless(staying.first_ping(a.inside))
        with steady(staying):
            with fleet.engine.serving.shell(fleet.engine.serving.url(fleet.database)) as shell:
                change = "UPDATE wgjit.meta SET value = %s WHERE what = 'schema'"
                shell.execute(change, (b"999",))
                try:
                    disconnect(fleet)  # a connection that is open does not look again
                    for member in fleet.members:
                        wait_for(lambda member=member: "newer wgjit" in member.trouble())  # type: ignore[misc]
                    assert seamless(new.first_ping(b.inside))
                finally:
                    shell.execute(change, (str(schema.newest()).encode(),))
            wait_for(lambda: holder(fleet, new) == "b")

    # --- who a gateway is -----------------------------------------------------------------------------------

    def test_a_name_that_a_living_gateway_has_is_refused(self, fleet: Fleet) -> None:
        a, b = fleet.members
        b.down()
        try:
            with pytest.raises(GatewayFailed, match=r"gateway name 'a'"):
                b.up(gateway={"name": "a"})
        finally:
            b.down()
        a.kill()
        a.up()  # its own row: nobody has to wait

    def test_another_private_key_is_told_by_name(self, fleet: Fleet) -> None:
        _, b = fleet.members
        b.down()
        b.server.change_key(PrivateKey.generate())
        try:
            b.up()
            wait_for(lambda: any("another private key" in line and "['a']" in line for line in b.log().splitlines()))
        finally:
            b.down()
            b.server.change_key(fleet.key)


@contextlib.contextmanager
def gone(fleet: Fleet, how: str) -> Iterator[None]:
    """The engine, or the way to it, is gone for the time of a `with`."""
    primary = fleet.engine.primary
    begin, end = {
        "stopped": (primary.stop, primary.start),
        "killed": (primary.kill, primary.start),
        "hanging": (primary.hang, primary.go_on),
        "cut off": (fleet.cut, fleet.mend),
    }[how]
    begin()
    try:
        yield
    finally:
        end()
    fleet.reopen()


THREE = tuple(ipaddress.ip_network(f"10.63.0.{number}") for number in range(3))
"""Addresses of a peer for which a copy needs the database's function."""
HELD = 4242
"""The key of an advisory lock."""
WAIT = f"""
    ALTER FUNCTION wgjit.packed(cidr[]) RENAME TO packed_at_once;
    CREATE FUNCTION wgjit.packed(prefixes cidr[]) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock_shared({HELD});
        RETURN wgjit.packed_at_once(prefixes);
    END $$"""


@contextlib.contextmanager
def copy_held(fleet: Fleet) -> Iterator[Callable[[], bool]]:
    """Let no copy come further than to a peer with three addresses. Gives whether one has come so far."""
    with fleet.engine.serving.shell(fleet.engine.serving.url(fleet.database)) as shell:
        shell.execute(WAIT.encode())
        shell.execute("SELECT pg_advisory_lock(%s)", (HELD,))
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        try:
            yield lambda: shell.execute(waiting, (HELD,)).fetchone() is not None
        finally:
            shell.execute("SELECT pg_advisory_unlock(%s)", (HELD,))


def disconnect(fleet: Fleet) -> None:
    """End all connections of gateways to the registry of record, as a restart does."""
    with fleet.engine.serving.shell() as shell:
        shell.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'gateways'",
            (fleet.database,),
        )


def crowd(count: int) -> Iterator[Peer]:
    """Peers that never come. Their keys are random bytes, which look like keys."""
    first = int(ipaddress.IPv4Address("10.64.0.0"))
    for number in range(count):
        address = ipaddress.IPv4Network((first + number, 32))
        yield Peer(PublicKey(secrets.token_bytes(31) + b"\0"), (address,))


def late_key() -> PrivateKey:
    """A key that comes last in key order, so that a copy has it last."""
    while (key := PrivateKey.generate()).public()[0] < 0xFE:
        pass
    return key


def fill(path: Path) -> None:
    """Use up a disk, to its last page, while another program may take some of them."""
    size, at = 1 << 20, 0
    with open(path, "wb") as file:
        while size >= 512:
            try:
                os.posix_fallocate(file.fileno(), at, size)
                at += size
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
