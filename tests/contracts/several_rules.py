"""One daemon on two interfaces whose names map to the same queue number: each gets its own queue and its own rules."""

from __future__ import annotations

import itertools
import json
import re
import select
import signal
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.gateway import WGJIT
from lab.netns import Lab
from lab.registry import LabRegistry
from lab.wireguard import Backend, Client, WireGuard
from tests.contracts.gateway_site import seamless, wait_for

PORTS = (51820, 51821)
QUEUES = 40000
"""As in capture_nfqueue: from how many a name chooses."""


class Two:
    """Two interfaces on one machine, whose names lead to the same queue number, and one file for both."""

    def __init__(self, lab: Lab, backend: Backend) -> None:
        self.lab, self.backend = lab, backend
        self.machine = lab.namespace("gw")
        first = lab.interface("wg")
        self.names = (first, _colliding(first))
        self.servers = [
            WireGuard(self.machine, [f"10.{80 + n}.0.1/16"], listen_port=PORTS[n], backend=backend, name=self.names[n])
            for n in (0, 1)
        ]
        self.paths = [lab.folder / f"peers{n}.db" for n in (0, 1)]
        self.registries = [LabRegistry(path) for path in self.paths]
        self.file = lab.folder / "wgjit.toml"
        self.file.write_text(
            '[gateway]\ndelivery = "hold"\n'
            + "".join(
                f"[interfaces.{name}.store]\npath = {json.dumps(str(path))}\n"
                for name, path in zip(self.names, self.paths, strict=True)
            )
        )
        self.log = lab.folder / "wgjit.log"
        self._clients = 1

    def client(self, of: int) -> Client:
        """A new client of one of them, on a machine of its own, registered there."""
        self._clients += 1
        number = self._clients
        machine = self.lab.namespace(f"c{number}")
        self.lab.link(self.machine, machine, [f"10.10.{number}.1/24"], [f"10.10.{number}.2/24"])
        client = Client(
            machine,
            self.servers[of].public_key,
            f"10.10.{number}.1:{PORTS[of]}",
            [f"10.{80 + of}.0.{number}/32"],
            [f"10.{80 + of}.0.0/16"],
            backend=self.backend,
        )
        self.registries[of].add([client.registration])
        return client

    def connects(self, client: Client, of: int) -> bool:
        """Its first ping comes back without a retry."""
        return seamless(client.first_ping(_inside(of)))

    @contextmanager
    def up(self) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
        """`wgjit up` with both, by the file alone; gives the process and what it said of each when it was ready."""
        with self.log.open("a") as log:
            process = self.machine.popen(
                *WGJIT, "up", "--config", self.file, stdout=subprocess.PIPE, stderr=log
            )  # fmt: skip
        assert process.stdout is not None
        try:
            said = []
            for _ in self.names:
                if not said:  # the lines come together
                    assert select.select([process.stdout], [], [], 60)[0], self.log.read_text()
                line = process.stdout.readline()
                assert line, self.log.read_text()
                said.append(json.loads(line))
            yield process, said
        finally:
            process.kill()
            process.wait()

    def held(self) -> set[str]:
        """The interfaces for which there are firewall rules of ours, by whatever program."""
        programs = (["nft", "list", "ruleset"], ["iptables-save"], ["iptables-legacy-save"], ["ip6tables-save"])
        rules = " ".join(self.machine.run("sh", "-c", '"$@" 2>/dev/null || true', "sh", *words) for words in programs)
        assert "wgjit" not in rules or any(name in rules for name in self.names), rules
        return {name for name in self.names if re.search(rf"wgjit[_:]{name}\b", rules)}

    def status(self, of: int) -> dict[str, Any]:
        """What `wgjit status` tells of one."""
        return dict(json.loads(self.machine.run(*WGJIT, "status", self.names[of], "--json")))

    def close(self) -> None:
        for registry in self.registries:
            registry.close()


class SeveralRulesContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def two(self, backend: Backend) -> Iterator[Two]:
        with Lab() as lab:
            two = Two(lab, backend)
            yield two
            two.close()

    def test_clients_of_both_connect_and_the_end_leaves_their_sessions(self, two: Two) -> None:
        clients = [two.client(0), two.client(1)]
        with two.up() as (process, said):
            assert [about["interface"] for about in said] == list(two.names)
            assert [about["delivery"] for about in said] == ["hold", "hold"]
            assert two.held() == set(two.names)
            for of, client in enumerate(clients):
                assert two.connects(client, of)
                assert two.status(of)["decisions"] == {"installed": 1}
                assert list(two.servers[of].peers()) == [client.public_key]
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        assert two.held() == set()
        for of, client in enumerate(clients):
            assert client.ping(_inside(of)) is not None

    def test_one_that_is_deleted_and_made_again_is_followed_beside_the_other(self, two: Two) -> None:
        clients = [two.client(0), two.client(1)]
        with two.up() as (process, _):
            for of, client in enumerate(clients):
                assert two.connects(client, of)
            two.servers[1].close()
            two.machine.run("sh", "-c", f"ip link delete {two.names[1]} 2>/dev/null || true")
            wait_for(lambda: "waiting_for" in two.status(1))
            assert clients[0].ping(_inside(0)) is not None
            assert two.connects(two.client(0), 0)
            assert two.status(0)["residents"] == 2
            assert two.status(0)["faults"] == {}
            two.servers[1] = WireGuard(
                two.machine, ["10.81.0.1/16"], listen_port=PORTS[1], backend=two.backend, name=two.names[1]
            )
            wait_for(lambda: "waiting_for" not in two.status(1))
            assert two.connects(two.client(1), 1)
            assert process.poll() is None


def _inside(of: int) -> str:
    return f"10.{80 + of}.0.1"


def _colliding(name: str) -> str:
    """Another name from which the same queue number is derived."""
    wanted = zlib.crc32(name.encode()) % QUEUES
    for number in itertools.count():
        other = f"{name[:-1][:8]}{number:x}"
        if other != name and zlib.crc32(other.encode()) % QUEUES == wanted:
            return other
    raise AssertionError("unreachable")
