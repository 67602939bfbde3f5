"""The URL of a database, as libpq reads it. It may hold a password, so it is a secret type."""

from __future__ import annotations

from typing import NoReturn

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from wgjit.errors import InvalidValue

SCHEMES = ("postgresql://", "postgres://")

_DEFAULTS: dict[str, str] = {
    "application_name": "wgjit",
    "client_encoding": "utf8",
    "connect_timeout": "5",  # seconds, for each host
    "tcp_user_timeout": "10000",  # milliseconds after which a server that does not answer counts as gone
}
"""libpq's parameters where the URL has none. None of them needs a session of its own behind pgbouncer."""


class DatabaseUrl:
    """A URL such as `postgresql://wgjit@db1,db2/wgjit?target_session_attrs=read-write&sslmode=verify-full`.

    Its text form has hosts and database, and neither user nor password. Raises InvalidValue; the error does not repeat
    the URL.
    """

    __slots__ = ("_conninfo", "_shown")

    def __init__(self, text: str) -> None:
        if not text.startswith(SCHEMES):
            raise InvalidValue("store URL: write postgresql://USER@HOST/DATABASE", field="store.url")
        try:
            given = {name: str(value) for name, value in conninfo_to_dict(text).items() if value is not None}
            self._conninfo = make_conninfo(**(_DEFAULTS | given))
        except (psycopg.Error, ValueError):
            raise InvalidValue(
                "store URL: libpq cannot read it; write postgresql://USER@HOST/DATABASE, and special characters of "
                "a password as %XX",
                field="store.url",
            ) from None
        hosts = given.get("host") or given.get("hostaddr") or ""
        ports = given.get("port", "").split(",")
        many = len(ports) > 1
        names = [
            f"{host}:{port}" if (port := ports[number] if many and number < len(ports) else ports[0]) else host
            for number, host in enumerate(hosts.split(","))
        ]
        self._shown = f"postgresql://{','.join(names)}/{given.get('dbname', '')}"

    def reveal(self) -> str:
        """The connection string for psycopg. A secret can leak at each place that calls this, so keep them few."""
        return self._conninfo

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseUrl) and other._conninfo == self._conninfo

    def __hash__(self) -> int:
        return hash(self._conninfo)

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"DatabaseUrl({self._shown!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("store URL: a secret is not pickled")
