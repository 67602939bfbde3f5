"""A gateway whose log is not read works as usual, and says how many lines are lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.gateway import Gateway
from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import INSIDE, Site, seamless
from wgjit.model import PrivateKey, Tai64n
from wgjit.wire.noise import Initiator

UNREADABLE = {
    "closed": ("sh", "-c", 'exec "$@" 2>&-', "sh"),
    "full": ("sh", "-c", 'exec "$@" 2>/dev/full', "sh"),
    # exec closes both ends of the pipe but the one that is standard error
    "broken": (sys.executable, "-c", "import os, sys; os.dup2(os.pipe()[1], 2); os.execvp(sys.argv[1], sys.argv[1:])"),
    "unread": (
        sys.executable,
        "-c",
        "import os, sys; r, w = os.pipe(); os.set_inheritable(r, True); os.dup2(w, 2); os.set_blocking(2, False)\n"
        "try:\n"
        "    while os.write(2, b'.'): pass\n"
        "except BlockingIOError: os.set_blocking(2, True)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])",
    ),
}


class LostLogContract:
    """Tests for one WireGuard implementation."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    @pytest.mark.parametrize("how", UNREADABLE)
    def test_from_the_start(self, site: Site, how: str) -> None:
        client = site.client()
        with Gateway(site.gateway, site.server.name, store=site.path, through=UNREADABLE[how]) as gateway:
            lost = gateway.status()["log_lines_lost"]
            assert lost >= 1  # at least that of the delivery
            assert seamless(client.first_ping(INSIDE[0]))
            with _registry_gone(site):
                _knock(site, gateway)
            status = gateway.status()
            assert status["faults"] == {"store": 1}
            assert status["log_lines_lost"] > lost
            assert os.stat(f"/proc/{gateway.process.pid}/fd/2").st_ino != site.path.stat().st_ino
            assert gateway.stop() == 0

    def test_from_the_moment_that_its_reader_ends(self, site: Site) -> None:
        client = site.client()
        log = site.lab.folder / "read"
        os.mkfifo(log)
        reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        through = ("sh", "-c", f'exec "$@" 2>"{log}"', "sh")
        with Gateway(site.gateway, site.server.name, store=site.path, through=through) as gateway:
            assert b"event=delivery" in os.read(reader, 65536)
            assert gateway.status()["log_lines_lost"] == 0
            os.close(reader)
            with _registry_gone(site):
                _knock(site, gateway)
            assert gateway.status()["log_lines_lost"] >= 1
            assert seamless(client.first_ping(INSIDE[0]))
            gateway.send(signal.SIGTERM)
            assert gateway.stop() == 0


@contextmanager
def _registry_gone(site: Site) -> Iterator[None]:
    """A fault that is logged."""
    away: Path = site.path.with_name("away.db")
    site.path.rename(away)
    try:
        yield
    finally:
        away.rename(site.path)


def _knock(site: Site, gateway: Gateway) -> None:
    """Knock as a stranger, and see that the registry could not be asked."""
    key = PrivateKey.generate()
    with gateway.feed() as feed:
        site.send([Initiator(key, site.server.public_key).initiate(1, Tai64n.from_unix(1_900_000_000))])
        assert feed.next(public_key=str(key.public()))["refusal"] == "store_failed"
