"""The site in which a gateway is tested: real clients, directly linked or behind NAT, and the real `wgjit up`.

   10.9.0.2  fd09::2                10.9.0.1, 10.9.0.77  fd09::1, fd09::77
     direct ───────────────────────────── gateway
                                             │ 10.7.0.1
     natted ───────── router (NAT) ──────────┤
192.168.7.2        192.168.7.1  10.7.0.2     │ 10.10.N.1
                                   c3, c4 ───┘ 10.10.N.2       a second client has a machine of its own
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.gateway import WGJIT, Gateway
from lab.hasty import HASTY, IDLE
from lab.netns import Lab, Namespace
from lab.registry import LabRegistry
from lab.registry_service import wait_until
from lab.wireguard import Backend, Client, WireGuard
from wgjit.model import PresharedKey

PORT = 51820
INSIDE = ("10.8.0.1", "fd08::1")
SEAMLESS = 4.8
"""Seconds: the client's own retry comes after 5. How fast a connect is, bench/ measures: a busy machine cannot tell."""

LONG = 60.0
"""Seconds within which what is waited for comes about on a machine however busy; only a failure takes so long."""


class Site:
    """The topology above, an interface on the gateway, and a registry."""

    def __init__(self, lab: Lab, backend: Backend, path: Path | None = None) -> None:
        """`path` is the registry's; by default it lies in the lab's folder."""
        self.lab, self.backend = lab, backend
        self.gateway, self.direct = lab.namespace("gw"), lab.namespace("direct")
        self.link = lab.link(
            self.gateway,
            self.direct,
            ["10.9.0.1/24", "10.9.0.77/24", "fd09::1/64", "fd09::77/64"],
            ["10.9.0.2/24", "fd09::2/64"],
        )
        self.server = WireGuard(self.gateway, ["10.8.0.1/16", "fd08::1/64"], listen_port=PORT, backend=backend)
        self.path = path or lab.folder / "peers.db"
        self.registry = LabRegistry(self.path)
        self._clients = 1

    def natted(self) -> Namespace:
        """A namespace behind a NAT router."""
        router, natted = self.lab.namespace("router"), self.lab.namespace("natted")
        outside = self.lab.link(self.gateway, router, ["10.7.0.1/24"], ["10.7.0.2/24"])
        self.lab.link(router, natted, ["192.168.7.1/24"], ["192.168.7.2/24"])
        router.masquerade(outside.b)
        natted.ip("route add default via 192.168.7.1")
        return natted

    def client(
        self,
        namespace: Namespace | None = None,
        endpoint: str = f"10.9.0.1:{PORT}",
        psk: PresharedKey | None = None,
        registered: bool = True,
    ) -> Client:
        """A new client, registered, that has not knocked yet; the first on the machine `direct`."""
        self._clients += 1
        if namespace is None:
            namespace = self.direct if self._clients == 2 else self._another_machine(self._clients)
        addresses = [f"10.8.0.{self._clients}/32", f"fd08::{self._clients}/128"]
        client = Client(
            namespace,
            self.server.public_key,
            endpoint,
            addresses,
            ["10.8.0.0/16", "fd08::/64"],
            preshared_key=psk,
            backend=self.backend,
        )
        if registered:
            self.registry.add([client.registration])
        return client

    def _another_machine(self, number: int) -> Namespace:
        machine = self.lab.namespace(f"c{number}")
        self.lab.link(self.gateway, machine, [f"10.10.{number}.1/24"], [f"10.10.{number}.2/24"])
        machine.ip(f"route add default via 10.10.{number}.1")
        return machine

    def keep_flips_from_crossing(self) -> None:
        """Lose first knocks where WireGuard is wireguard-go: by a race of its own a crossing flip may lose its client.

        See docs/DELIVERY.md. Crossing flips have a test of their own, in tests/userspace/test_gateway.py.
        """
        if self.backend == "go":
            self.gateway.lose_first_knocks(PORT)

    def up(self, delivery: str = "auto", *options: str | Path) -> Gateway:
        """Start `wgjit up`."""
        return Gateway(self.gateway, self.server.name, *options, store=self.path, delivery=delivery)

    def up_with(self, **settings: object) -> Gateway:
        """Start `wgjit up` with these settings of the section [gateway]."""
        return self.up("auto", "--config", self._config(settings))

    def up_in_a_hurry(self, idle: float = IDLE, **settings: object) -> Gateway:
        """Start it with a short life of sessions and a short idle time, too: see lab.hasty."""
        return Gateway(
            self.gateway,
            self.server.name,
            "--config",
            self._config(settings),
            store=self.path,
            through=("env", f"HASTY_IDLE={idle}"),
            program=HASTY,
        )

    def _config(self, settings: dict[str, object]) -> Path:
        path = self.lab.folder / "settings.toml"
        path.write_text("[gateway]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        return path

    @contextmanager
    def listener(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """A running `wgjit feed` that listens already."""
        process = self.gateway.popen(
            *WGJIT, "feed", self.server.name, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        assert "wgjit: " in process.stderr.readline()
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()

    def send(self, payloads: list[bytes], port: int = PORT) -> None:
        """Send UDP payloads from the direct client's machine to the gateway."""
        with self.direct.socket() as udp:
            for payload in payloads:
                udp.sendto(payload, ("10.9.0.1", port))


def seamless(seconds: float | None) -> bool:
    return seconds is not None and seconds < SEAMLESS


def wait_for(condition: Callable[[], bool], seconds: float = LONG) -> None:
    wait_until(condition, seconds)


def sent_packets() -> int:
    """How many IPv4 packets a machine has sent (/proc/net/snmp, OutRequests); called inside its namespace.

    Not those of an interface: IPv6 speaks of itself there (router solicitations, listener reports) when it pleases.
    """
    lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    return int(values[names.index("OutRequests")])
