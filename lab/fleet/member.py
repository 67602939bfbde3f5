"""One gateway of a fleet: its machine, its interface with the fleet's key, its replica, and its link to the engine."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.fleet.engine import Engine
from lab.gateway import WGJIT, Gateway
from lab.hasty import HASTY
from lab.netns import Namespace
from lab.skewed import SKEWED
from lab.wireguard import Backend, WireGuard
from wgjit.errors import StoreError
from wgjit.model import Claim, PrivateKey, PublicKey, Registration
from wgjit.stores.sqlite.store import SqliteStore

PORT = 51820
SERVICE = "203.0.113.1"
"""The address that each gateway of a fleet has, for clients of which the network says which gateway they reach."""
INSIDE = "10.8.0.1"
"""The address inside the tunnels that each gateway of a fleet has."""


class Member:
    """A gateway of a fleet. `up` starts its daemon."""

    def __init__(
        self,
        name: str,
        number: int,
        internet: Namespace,
        engine: Engine,
        database: str,
        key: PrivateKey,
        backend: Backend,
    ) -> None:
        self.name, self.number, self.database, self.engine = name, number, database, engine
        self.namespace = internet.lab.namespace(name)
        self.address, self.router = f"192.0.2.{4 * number - 3}", f"192.0.2.{4 * number - 2}"
        self.inside = f"10.8.255.{number}"
        """The address inside the tunnel that this gateway alone has."""
        self._outside = internet.lab.link(internet, self.namespace, [f"{self.router}/30"], [f"{self.address}/30"])
        # What WireGuard begins by itself comes from the service address, as where there is anycast.
        self.namespace.ip(f"address add {SERVICE}/32 dev lo", f"route add default via {self.router} src {SERVICE}")
        self.link = engine.link(self.namespace)
        self.server = WireGuard(
            self.namespace, [f"{INSIDE}/16", f"{self.inside}/32"], private_key=key, listen_port=PORT, backend=backend
        )
        folder = internet.lab.folder
        self.replica = folder / f"{name}.replica.db"
        self._config = folder / f"{name}.toml"
        self.daemon: Gateway | None = None

    def __repr__(self) -> str:
        return f"Member({self.name})"

    @property
    def endpoint(self) -> str:
        """Where clients reach this gateway and no other."""
        return f"{self.address}:{PORT}"

    @property
    def config(self) -> Path:
        """The file with its settings, once it was started."""
        return self._config

    # --- its daemon -----------------------------------------------------------------------------------------

    def up(
        self,
        *,
        delivery: str = "auto",
        gateway: Mapping[str, object] | None = None,
        store: Mapping[str, object] | None = None,
        clock: float = 0.0,
        hasty: Mapping[str, str] | None = None,
        **more: Mapping[str, object],
    ) -> Gateway:
        """Start `wgjit up`, with more settings of these sections and of those in `more`. Raises GatewayFailed.

        `clock`: seconds by which the daemon's clock is ahead, as lab.skewed does it. `hasty`: with the short times of
        lab.hasty, and these variables of it.
        """
        sections: dict[str, dict[str, object]] = {
            "store": {"url": self.engine.url(self.database), "path": str(self.replica), **(store or {})},
            "gateway": {"name": self.name, "address": self.endpoint, **(gateway or {})},
            **{section: dict(settings) for section, settings in more.items()},
        }
        self._config.write_text(
            "".join(
                f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
                for section, settings in sections.items()
            )
        )
        self._config.chmod(0o600)
        self.daemon = Gateway(
            self.namespace,
            self.server.name,
            "--config",
            self._config,
            store=None,
            delivery=delivery,
            through=("env", f"LAB_CLOCK={clock}", *(f"{name}={value}" for name, value in (hasty or {}).items())),
            program=SKEWED if clock else WGJIT if hasty is None else HASTY,
        )
        return self.daemon

    def down(self) -> None:
        """End the daemon by SIGTERM, if it runs. WireGuard and its sessions stay."""
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None

    def kill(self) -> None:
        """End the daemon by SIGKILL. WireGuard and its sessions stay."""
        self.running.kill()
        self.daemon = None

    @contextlib.contextmanager
    def draining(self, *options: str, stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
        """`wgjit drain` with these options. At the end it waits no longer; the gateway drains on."""
        command = self.namespace.popen(*WGJIT, "drain", self.server.name, *options, stdout=stdout)
        try:
            yield command
        finally:
            command.kill()
            command.communicate()

    def die(self) -> None:
        """Lose link, daemon and WireGuard at once, as a machine does that loses power."""
        self.namespace.ip(f"link set {self._outside.b} down")
        self.kill()
        self.server.close()

    @property
    def running(self) -> Gateway:
        """The daemon. Raises RuntimeError if it was not started."""
        if self.daemon is None:
            raise RuntimeError(f"{self.name} is not up")
        return self.daemon

    def status(self) -> dict[str, Any]:
        """The daemon's status."""
        return self.running.status()

    def count(self, what: str, which: str) -> int:
        """One of the daemon's counters, such as `departures`, `moved`."""
        return int(self.status()[what].get(which, 0))

    def hears_the_engine(self) -> bool:
        """Whether the daemon's replica has been renewed lately."""
        return not self.status()["registry"]["behind"]

    def is_complete(self) -> bool:
        """Whether its replica has all peers, by the daemon's status."""
        return bool(self.status()["registry"].get("complete"))

    def trouble(self) -> str:
        """What keeps it from following the registry of record, by its status. Empty if nothing does."""
        return str(self.status()["registry"].get("trouble") or "")

    def log(self) -> str:
        """All that its daemons have written to standard error."""
        path = self.namespace.lab.folder / f"{self.server.name}.log"
        return path.read_text() if path.exists() else ""

    # --- what it has ----------------------------------------------------------------------------------------

    def residents(self) -> set[PublicKey]:
        """The peers on its interface."""
        return {PublicKey.parse(line) for line in self.namespace.run("wg", "show", self.server.name, "peers").split()}

    def let_go(self, key: PublicKey, timeout: float, pause: float = 0.01) -> float | None:
        """Wait until a peer is off the interface. Returns the monotonic time when it was seen so, None if never."""
        end = time.monotonic() + timeout
        while key in self.residents():
            if time.monotonic() > end:
                return None
            time.sleep(pause)
        return time.monotonic()

    def knows(self, key: PublicKey) -> bool:
        """Whether its replica has this peer, read by the way: not by the daemon."""
        return self._read(key) is not None

    def claim(self, key: PublicKey) -> Claim | None:
        """What its replica has as this peer's claim."""
        found = self._read(key)
        return None if found is None else found.claim

    def holder(self, key: PublicKey) -> str | None:
        """Who holds this peer, as far as its replica has heard."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.replica, timeout=5.0)) as db:
            query = "SELECT gateway FROM holdings WHERE public_key = ? AND until IS NULL"
            row = db.execute(query, (key,)).fetchone()
            return None if row is None else str(row[0])
        return None

    def _read(self, key: PublicKey) -> Registration | None:
        try:
            replica = SqliteStore(self.replica, read_only=True)
        except StoreError:
            return None  # not made yet
        try:
            return replica.lookup(key)
        except StoreError:
            return None
        finally:
            replica.close()
