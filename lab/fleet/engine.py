"""PostgreSQL in a namespace of its own, which a fleet's gateways reach over links that can be cut and delayed."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psycopg

from lab.netns import Lab, Namespace
from lab.postgresql import Cluster, Standby
from lab.registry import LabPostgres
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl

PRIMARY, STANDBY = "10.99.0.1", "10.99.0.2"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "REGISTRY.md"
"""It says which rights gateways and managers need."""


class EngineLink:
    """The link between a gateway's machine and the engine."""

    def __init__(self, engine: Namespace, machine: Namespace, number: int) -> None:
        """`number`: of the link, so that it has addresses of its own."""
        self._engine, self._machine = engine, machine
        far, near = f"10.98.{number}.1", f"10.98.{number}.2"
        self._link = machine.lab.link(engine, machine, [f"{far}/30"], [f"{near}/30"])
        machine.ip(f"route add 10.99.0.0/24 via {far}")

    def cut(self) -> None:
        """Let no packet pass, as a cut cable does: nobody is told, and each side only hears nothing more."""
        self._engine.ip(f"link set {self._link.a} down")  # the machine's own side stays up and keeps its route

    def mend(self) -> None:
        """Let packets pass again."""
        self._engine.ip(f"link set {self._link.a} up")

    def delay(self, round_trip: float) -> None:
        """Make a round trip take so many seconds more. Raises CommandFailed on a kernel without netem."""
        self._engine.netem(self._link.a, delay=round_trip / 2)
        self._machine.netem(self._link.b, delay=round_trip / 2)


class Engine:
    """PostgreSQL for fleets. A context manager, which ends the servers.

    `standby`: with a streaming hot standby. It takes a second or two to make, ten in a guest: tests share one.
    """

    def __init__(self, lab: Lab, *, standby: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self.namespace = lab.namespace("engine")
        self.namespace.ip(f"address add {PRIMARY}/32 dev lo", f"address add {STANDBY}/32 dev lo")
        self.primary = Cluster(settings, namespace=self.namespace, address=PRIMARY)
        self.standby: Standby | None = None
        self.password = secrets.token_urlsafe(12)
        """The password in the gateways' URL. The server asks for none, and no gateway may tell it."""
        self._wanted = standby
        self._template = ""
        self._links = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.primary)
            self._template = self._make_template()
            if self._wanted:
                self.standby = stack.enter_context(self.primary.standby(address=STANDBY))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_template(self) -> str:
        name = "registry"
        with self.primary.shell() as shell:
            shell.execute(f"CREATE DATABASE {name}".encode())
            for role in ("gateways", "managers"):
                shell.execute(f"CREATE ROLE {role} LOGIN".encode())
        schema.init(DatabaseUrl(self.primary.url(name)))
        (grants,) = re.findall(r"```sql\n(GRANT .*?)```", PAGE.read_text(), re.DOTALL)
        with self.primary.shell(self.primary.url(name)) as shell:
            shell.execute(grants.encode())
        return name

    @property
    def serving(self) -> Cluster:
        """The server that takes writes: the primary, until the standby is promoted."""
        if self.standby is not None and self.standby.is_primary():
            return self.standby
        return self.primary

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A database with an empty registry of its own. Returns its name. It is dropped at the end if it can be."""
        name = f"fleet{secrets.token_hex(4)}"
        with self.primary.shell() as shell:
            shell.execute(f"CREATE DATABASE {name} TEMPLATE {self._template}".encode())
        new = "UPDATE wgjit.meta SET value = uuid_send(gen_random_uuid()) WHERE what = 'identity'"
        with self.primary.shell(self.primary.url(name)) as shell:
            shell.execute(new)
        if self.standby is not None:
            self.standby.catch_up()
        try:
            yield name
        finally:
            with contextlib.suppress(psycopg.OperationalError), self.serving.shell() as shell:
                shell.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def registry(self, database: str) -> LabPostgres:
        """The registry of a database as people have it, by a way that does not depend on the links."""
        return LabPostgres(DatabaseUrl(self.serving.url(database)))

    def url(self, database: str) -> str:
        """What gateways have as `store.url`: all servers, of which the one that takes writes counts."""
        others = [] if self.standby is None else [self.standby]
        more = "target_session_attrs=read-write" if others else ""
        return self.primary.network_url(database, f"gateways:{self.password}", *others, options=more)

    def link(self, machine: Namespace) -> EngineLink:
        """A new link to a gateway's machine."""
        self._links += 1
        return EngineLink(self.namespace, machine, self._links)
