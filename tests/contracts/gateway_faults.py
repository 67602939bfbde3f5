"""The registry's file breaks under a running gateway, in every way that a disk can fail; then the cause is removed.

Each time, residents ping and rekey throughout, and a stranger's held packet is released in time. The gateway keeps
"could not ask" apart from "unknown", counts each fault and logs it once, and works again without a restart.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from lab.gateway import Feed, Gateway, GatewayFailed
from lab.netns import Lab, run
from lab.registry import LabRegistry
from lab.wireguard import Backend, Client
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from tests.contracts.gateway_witness import steady
from tests.contracts.store import peer
from wgjit.model import PrivateKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.noise import Initiator

CROWD = 5000
"""Registered peers, so that a lookup reads pages that nobody has read before."""

STRANGERS = 5
"""Knocks of unknown keys during each fault."""

IN_A_ROW = 20
"""Knocks at once while each lookup waits a quarter of a second for the registry, in vain."""

NO_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root, but bound by file modes as the service's own account is."""


class Stand:
    """A gateway with two residents, one that only pings and one that rekeys, over a registry on a small disk."""

    def __init__(self, site: Site, disk: Path) -> None:
        self.site, self.disk = site, disk
        site.gateway.run(
            "nft", "-f", "-",
            input=f"""table inet after {{
                counter released {{ }}
                chain input {{ type filter hook input priority 20; udp dport {PORT} counter name "released"; }}
            }}""",
        )  # fmt: skip
        self.resident, self.rekeying = site.client(), site.client()
        self.gateway = Gateway(site.gateway, site.server.name, store=site.path, through=NO_OVERRIDE)
        for client in (self.resident, self.rekeying):
            assert seamless(client.first_ping(INSIDE[0]))

    def released(self) -> int:
        """Packets to the port that have passed the queue."""
        listing = self.site.gateway.run("nft", "list", "counter", "inet", "after", "released")
        return int(re.findall(r"packets (\d+)", listing)[0])

    def told(self, part: str, event: str = "fault") -> int:
        """How often the log tells this event of this part."""
        return len(re.findall(rf"event=\"?{event}\"? part={part} ?", self.gateway.log.read_text()))

    def rekey(self, feed: Feed) -> Tai64n:
        """The resident's next handshake passes as ever; gives its timestamp."""
        self.rekeying.forget()
        assert seamless(self.rekeying.first_ping(INSIDE[0]))
        record = feed.next(public_key=str(self.rekeying.public_key))
        assert record["decision"] == "resident"
        return Tai64n.parse(record["timestamp"])

    def stranger(self, feed: Feed, private_key: PrivateKey | None = None) -> str | None:
        """A knock from nobody whom WireGuard knows; its packet must be released in time. Gives the refusal."""
        private_key = private_key or PrivateKey.generate()
        before = self.released()
        initiator = Initiator(private_key, self.site.server.public_key)
        self.site.send([initiator.initiate(1, Tai64n.from_unix_ns(time.time_ns()))])
        wait_for(lambda: self.released() > before)
        record = feed.next(public_key=str(private_key.public()))
        assert record["decision"] == ("refused" if record["refusal"] else "installed")
        return record["refusal"]  # type: ignore[no-any-return]

    def saved(self, client: Client) -> Tai64n | None:
        """The greatest timestamp that the registry has of a client."""
        found = self.site.registry.lookup(client.public_key)
        return None if found is None or found.claim is None else found.claim.timestamp

    @contextmanager
    def watched(self, part: str) -> Iterator[Watch]:
        """A resident pings for the time of a `with` in which the part fails, and is mended."""
        with self.gateway.feed() as feed, steady(self.resident):
            yield Watch(self, feed, part)
        assert self.gateway.process.poll() is None


class Watch:
    """What is to be seen of one fault, from before it began."""

    def __init__(self, stand: Stand, feed: Feed, part: str) -> None:
        self._stand, self._feed, self._part = stand, feed, part
        self._faults, self._told, self._passed = self._counted(), stand.told(part), stand.told(part, "fault passed")

    def _counted(self) -> int:
        return int(self._stand.gateway.status()["faults"].get(self._part, 0))

    def suffers(self, answer: Refusal) -> None:
        """The part fails; strangers get this answer, residents rekey."""
        for _ in range(STRANGERS):
            assert self._stand.stranger(self._feed) == answer
        self._newest = self._stand.rekey(self._feed)
        wait_for(lambda: self._counted() >= self._faults + 3)
        assert self._stand.told(self._part) == self._told + 1, self._stand.gateway.log.read_text()

    def recovers(self) -> None:
        """The cause is gone: all is as before, nothing that was proven meanwhile is forgotten, and the end is told."""
        stand = self._stand
        wait_for(lambda: stand.stranger(self._feed) == Refusal.UNKNOWN)
        late = stand.site.client(registered=False)
        stand.site.registry.add([late.registration])
        assert seamless(late.first_ping(INSIDE[0]))
        wait_for(lambda: stand.saved(stand.rekeying) == self._newest)
        wait_for(
            lambda: (
                stand.stranger(self._feed) == Refusal.UNKNOWN
                and stand.told(self._part, "fault passed") == self._passed + 1
            )
        )
        assert stand.told(self._part) == self._told + 1, stand.gateway.log.read_text()


class StoreFaultsContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture(scope="class")
    @classmethod
    def stand(cls, backend: Backend) -> Iterator[Stand]:
        with Lab() as lab, small_disk(lab.folder / "disk") as disk:
            site = Site(lab, backend, disk / "peers.db")
            site.registry.add(peer(number) for number in range(CROWD))
            stand = Stand(site, disk)
            try:
                yield stand
            finally:
                stand.gateway.stop()
                site.registry.close()

    def test_another_process_holds_the_registry(self, stand: Stand) -> None:
        """Readers do not wait for it; claims do."""
        with ExitStack() as mend, stand.watched("registry") as watch:
            mend.enter_context(another_process_writes(stand.site.path))
            watch.suffers(Refusal.UNKNOWN)
            mend.close()
            watch.recovers()

    def test_another_process_keeps_even_readers_out(self, lab: Lab, backend: Backend) -> None:
        """In the mode that somebody has switched the file to. Knocks in a row do not wait for one another's lookups."""
        path = lab.folder / "peers.db"
        LabRegistry(path).close()
        with closing(sqlite3.connect(path)) as registry:
            assert registry.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        site = Site(lab, backend, path)
        stand = Stand(site, lab.folder)
        initiators = [Initiator(PrivateKey.generate(), site.server.public_key) for _ in range(IN_A_ROW)]
        with ExitStack() as mend, stand.watched("store") as watch:
            mend.enter_context(another_process_writes(path))
            before = stand.released()
            site.send([initiator.initiate(1, Tai64n.from_unix_ns(time.time_ns())) for initiator in initiators])
            wait_for(lambda: stand.released() >= before + len(initiators), 0.24 * IN_A_ROW)
            watch.suffers(Refusal.STORE_FAILED)
            mend.close()
            watch.recovers()
        stand.gateway.stop()
        site.registry.close()

    def test_the_disk_is_full(self, stand: Stand) -> None:
        with ExitStack() as mend, stand.watched("registry") as watch:
            mend.callback(fill(stand.disk).unlink)
            watch.suffers(Refusal.UNKNOWN)
            mend.close()
            watch.recovers()

    def test_the_file_is_gone_and_comes_back(self, stand: Stand) -> None:
        path = stand.site.path
        aside = stand.disk / "aside"
        aside.mkdir()
        with ExitStack() as mend, stand.watched("store") as watch:
            mend.callback(move, aside / path.name, stand.disk)
            move(path, aside)
            watch.suffers(Refusal.STORE_FAILED)
            assert not path.exists(), "somebody made an empty registry in its place"
            mend.close()
            watch.recovers()

    def test_the_file_is_damaged_and_a_backup_put_back(self, stand: Stand) -> None:
        path, backup, aside = stand.site.path, stand.disk / "backup.db", stand.disk / "damaged"
        aside.mkdir()
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        pages = empty_log(path) // 4096
        with ExitStack() as mend, stand.watched("store") as watch:
            mend.callback(backup.rename, path)
            mend.callback(move, path, aside)  # with its companions, which belong to it and to nothing else
            run("dd", "if=/dev/urandom", f"of={path}", "bs=4096", "seek=1", f"count={pages - 1}", "conv=notrunc")
            watch.suffers(Refusal.STORE_FAILED)
            mend.close()
            watch.recovers()

    def test_the_file_may_not_be_written(self, stand: Stand) -> None:
        path, copy = stand.site.path, stand.disk / "copy.db"
        empty_log(path)
        with ExitStack() as mend, stand.watched("registry") as watch:
            mend.callback(path.chmod, 0o600)
            shutil.copy(path, copy)
            copy.chmod(0o400)
            for companion in companions(path):
                companion.unlink(missing_ok=True)
            copy.rename(path)
            watch.suffers(Refusal.UNKNOWN)
            mend.close()
            watch.recovers()

    def test_what_is_no_registry_keeps_a_gateway_from_starting_and_sessions_up(
        self, lab: Lab, backend: Backend
    ) -> None:
        site = Site(lab, backend)
        client = site.client()
        gateway = site.up()
        assert seamless(client.first_ping(INSIDE[0]))
        gateway.stop()
        wrong = lab.folder / "wrong.db"
        wrong.write_text("a letter to a friend, and no registry\n" * 200)
        with steady(client), pytest.raises(GatewayFailed, match=r"wrong\.db: it is not an SQLite database"):
            Gateway(site.gateway, site.server.name, store=wrong)
        assert wrong.read_text().startswith("a letter"), "it was written to"
        site.registry.close()


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Sixteen megabytes of disk of its own."""
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "wgjit-test", path)
    try:
        yield path
    finally:
        run("umount", "--lazy", path)  # the gateway's mount namespace has a copy


def fill(disk: Path) -> Path:
    """Leave no byte free; gives the file to remove."""
    filler, free = disk / "filler", os.statvfs(disk)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    return filler


def empty_log(path: Path) -> int:
    """Move all of the log into the registry's file; gives its size in bytes."""
    with closing(sqlite3.connect(path)) as registry:
        registry.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def companions(path: Path) -> list[Path]:
    return [Path(f"{path}-wal"), Path(f"{path}-shm")]


def move(path: Path, folder: Path) -> None:
    """Move a registry with all that belongs to it; the file itself first."""
    for file in (path, *companions(path)):
        if file.exists():
            file.rename(folder / file.name)


@contextmanager
def another_process_writes(path: Path) -> Iterator[None]:
    """Another process is in the middle of a transaction."""
    program = """
import sqlite3, sys
registry = sqlite3.connect(sys.argv[1], isolation_level=None)
registry.execute("BEGIN EXCLUSIVE")
print("begun", flush=True)
sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield
    finally:
        process.communicate("\n")
