"""One daemon for two interfaces, each with its own registry. Events on one interface do not affect the other."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pytest

from lab.gateway import WGJIT
from lab.netns import CommandFailed, Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend, Client, WireGuard
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from wgjit.control.socket import socket_path

OTHER_PORT = 51821
OTHER_INSIDE = "10.11.0.1"
PATIENCE = 120.0
"""Seconds until both are ready."""


class Daemon:
    """A running `wgjit up` of all interfaces in a file. A context manager."""

    def __init__(self, site: Site, config: Path, *interfaces: str) -> None:
        self.log = site.lab.folder / "several.log"
        with self.log.open("a") as log:
            self.process = site.gateway.popen(
                *WGJIT, "up", *interfaces, "--config", config, stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        silence = threading.Timer(PATIENCE, self.process.kill)  # then its lines end
        silence.start()
        self.about: list[dict[str, Any]] = [json.loads(line) for line in islice(self.process.stdout, 2)]
        """What it said of each interface when it was ready."""
        silence.cancel()
        assert len(self.about) == 2, self.log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        finally:
            self.process.kill()


class SeveralContract:
    """Subclass with a `backend`."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            self.other = WireGuard(site.gateway, [f"{OTHER_INSIDE}/16"], listen_port=OTHER_PORT, backend=self.backend)
            self.other_path = lab.folder / "others.db"
            self.others = LabRegistry(self.other_path)
            self.number = 1
            yield site
            self.others.close()
            site.registry.close()

    def config(self, site: Site) -> Path:
        path = site.lab.folder / "wgjit.toml"
        path.write_text(
            "[gateway]\nidle_timeout = 600\n"
            f'[interfaces.{site.server.name}]\nstore = "{site.path}"\n'
            f'[interfaces.{self.other.name}]\nstore = "{self.other_path}"\n'
        )
        return path

    def other_client(self, site: Site) -> Client:
        """A new client of the other interface, registered there alone."""
        self.number += 1
        machine = site.lab.namespace(f"o{self.number}")
        site.lab.link(site.gateway, machine, [f"10.12.{self.number}.1/24"], [f"10.12.{self.number}.2/24"])
        client = Client(
            machine,
            self.other.public_key,
            f"10.12.{self.number}.1:{OTHER_PORT}",
            [f"10.11.0.{self.number}/32"],
            ["10.11.0.0/16"],
            backend=self.backend,
        )
        self.others.add([client.registration])
        return client

    def test_clients_of_both_connect_and_one_interfaces_end_is_not_the_others(self, site: Site) -> None:
        first, second = site.client(), self.other_client(site)
        with Daemon(site, self.config(site)) as daemon:
            assert [about["interface"] for about in daemon.about] == [site.server.name, self.other.name]
            assert [about["listen_port"] for about in daemon.about] == [PORT, OTHER_PORT]
            assert {about["process"] for about in daemon.about} == {daemon.process.pid}
            assert seamless(first.first_ping(INSIDE[0]))
            assert seamless(second.first_ping(OTHER_INSIDE))
            assert list(site.server.peers()) == [first.public_key]
            assert list(self.other.peers()) == [second.public_key]
            self.other.close()
            assert seamless(first.ping(INSIDE[0]))
            assert seamless(site.client().first_ping(INSIDE[0]))
            wait_for(lambda: "waiting_for" in status(site, self.other.name))
            assert seamless(first.ping(INSIDE[0]))
            assert status(site, site.server.name)["residents"] == 2
            assert daemon.stop() == 0
        assert "wgjit" not in site.gateway.run("nft", "list", "ruleset")
        assert seamless(first.ping(INSIDE[0]))

    def test_both_are_taken_over_after_a_crash(self, site: Site) -> None:
        first, second = site.client(), self.other_client(site)
        config = self.config(site)
        with Daemon(site, config) as daemon:
            assert seamless(first.first_ping(INSIDE[0]))
            assert seamless(second.first_ping(OTHER_INSIDE))
            daemon.process.kill()
            daemon.process.wait()
        assert seamless(first.ping(INSIDE[0]))
        with Daemon(site, config, self.other.name, site.server.name) as daemon:
            assert [about["residents"] for about in daemon.about] == [1, 1]
            assert seamless(first.ping(INSIDE[0]))
            assert seamless(second.ping(OTHER_INSIDE))
            assert seamless(self.other_client(site).first_ping(OTHER_INSIDE))
            assert daemon.stop() == 0

    def test_a_mistake_of_one_ends_the_start_of_all_with_its_name(self, site: Site) -> None:
        path = self.config(site)
        path.write_text(path.read_text() + f'[interfaces.absent0]\nstore = "{self.other_path}"\n')
        with pytest.raises(CommandFailed, match="absent0: there is no such interface"):
            site.gateway.run(*WGJIT, "up", "--config", path, timeout=60)
        assert "wgjit" not in site.gateway.run("nft", "list", "ruleset")
        assert not socket_path(site.server.name).exists()


def status(site: Site, interface: str) -> dict[str, Any]:
    """What `wgjit status` tells of one of them."""
    return dict(json.loads(site.gateway.run(*WGJIT, "status", interface, "--json")))
