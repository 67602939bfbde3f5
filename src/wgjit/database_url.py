"""The URL of a PostgreSQL database, read as libpq reads it, but without libpq. A secret, since it may hold a password.

Settings, commands and a gateway's process need to know which database is meant, and must not load the driver for that.
`DatabaseUrl.reveal` is what the driver gets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

from wgjit.errors import InvalidValue

SCHEMES = ("postgresql://", "postgres://")

FORM = "postgresql://USER@HOST/DATABASE"

_DEFAULTS: dict[str, str] = {
    "application_name": "wgjit",
    "client_encoding": "utf8",
    "connect_timeout": "5",  # seconds, for each host
    "tcp_user_timeout": "10000",  # milliseconds after which a server that does not answer counts as gone
}
"""libpq's parameters where the URL has none. None of them needs a session of its own behind pgbouncer."""

_SECRET = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

_WORDS: Mapping[str, frozenset[str]] = {
    "sslmode": frozenset(("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    "target_session_attrs": frozenset(
        ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    ),
    "load_balance_hosts": frozenset(("disable", "random")),
    "gssencmode": frozenset(("disable", "prefer", "require")),
    "channel_binding": frozenset(("disable", "prefer", "require")),
    "sslnegotiation": frozenset(("postgres", "direct")),
}
"""Parameters with a few words for values. libpq would tell a mistake in them at the first connection only."""

_NUMBERS = frozenset(
    (
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    )
)

PARAMETERS = frozenset(
    (
        *_SECRET,
        *_WORDS,
        *_NUMBERS,
        "application_name",
        "client_encoding",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gsslib",
        "host",
        "hostaddr",
        "krbsrvname",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_issuer",
        "oauth_scope",
        "options",
        "passfile",
        "port",
        "replication",
        "require_auth",
        "requirepeer",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslrootcert",
        "sslsni",
        "user",
    )
)
"""All parameters of libpq 15 to 18."""

_IN_A_TEXT = re.compile(r"\b(postgres(?:ql)?:/+)[^\s'\"│]*")
"""A URL among other words, as an error of the command line repeats it."""


class DatabaseUrl:
    """A URL such as `postgresql://wgjit@db1,db2/wgjit?target_session_attrs=read-write&sslmode=verify-full`.

    Its text form has hosts and database, and neither user nor password. Raises InvalidValue; the error does not repeat
    the URL.
    """

    __slots__ = ("_parameters", "_shown")

    def __init__(self, text: str) -> None:
        try:
            self._parameters = _parsed(text)
            _check(self._parameters)
        except _MalformedError as error:
            raise InvalidValue(f"the PostgreSQL URL{error}", field="store.url") from None
        self._shown = f"postgresql://{','.join(self._places())}/{self._parameters.get('dbname', '')}"

    def reveal(self) -> str:
        """The URL for the driver, with all that it says and wgjit's defaults. It may hold a password.

        A secret can leak at each place that calls this, so keep them few.
        """
        given = _DEFAULTS | self._parameters
        return "postgresql://?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())

    @property
    def has_password(self) -> bool:
        """Whether the URL itself holds a secret."""
        return any(name in self._parameters for name in _SECRET)

    @property
    def hosts(self) -> list[str]:
        """The names, addresses or socket folders of the servers; empty if the URL leaves them to libpq."""
        given = self._parameters.get("host") or self._parameters.get("hostaddr")
        return given.split(",") if given else []

    def parameter(self, name: str) -> str | None:
        """A parameter that the URL gives, such as `sslmode`. Secret ones are not given away: they raise KeyError."""
        if name in _SECRET:
            raise KeyError(name)
        return self._parameters.get(name)

    def _places(self) -> Iterator[str]:
        """The hosts with their ports."""
        ports = self._parameters.get("port", "").split(",")
        for number, host in enumerate(self.hosts or [""]):
            port = ports[number] if len(ports) > 1 else ports[0]
            named = f"[{host}]" if ":" in host else host
            yield f"{named}:{port}" if port else named

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseUrl) and _DEFAULTS | other._parameters == _DEFAULTS | self._parameters

    def __hash__(self) -> int:
        return hash(frozenset((_DEFAULTS | self._parameters).items()))

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"<DatabaseUrl {self._shown}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("store URL: a secret is not pickled")


def is_database_url(text: str) -> bool:
    """Whether a text is meant to be the URL of a PostgreSQL database."""
    return text.startswith(SCHEMES)


def without_urls(text: str) -> str:
    """A text for people, without what follows the scheme of a database's URL in it: that may be a password."""
    return _IN_A_TEXT.sub(r"\1(left out)", text)


class _MalformedError(Exception):
    """What is wrong with a URL, and the fix. The text goes on after "the PostgreSQL URL"."""


def _parsed(text: str) -> dict[str, str]:
    """The parameters of a URL, as libpq's conninfo_uri_parse finds them. Raises _MalformedError."""
    scheme = next((scheme for scheme in SCHEMES if text.startswith(scheme)), None)
    if scheme is None:
        raise _MalformedError(f": write {FORM}")
    rest = text[len(scheme) :]
    found: dict[str, str] = {}
    if match := re.match(r"([^@/]*)@", rest):
        user, _, password = match[1].partition(":")
        _put(found, "user", user)
        _put(found, "password", password)
        rest = rest[match.end() :]
    hosts, ports, rest = _authority(rest)
    _put(found, "host", ",".join(hosts))
    _put(found, "port", ",".join(ports))
    path, _, query = rest.partition("?")
    if "/" in path[1:] or "@" in path:
        # libpq would take it for the database's name, and the name is shown.
        raise _MalformedError(": has a / or @ too many; write those of user, password and database as %2F and %40")
    _put(found, "dbname", path[1:])
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise _MalformedError(": write what follows the ? as NAME=VALUE, and = and & of a value as %3D and %26")
        name, value = _decoded(name), _decoded(value)
        if (name, value) == ("ssl", "true"):
            name, value = "sslmode", "require"
        if name not in PARAMETERS:
            # The name is not repeated: it may be a part of a password.
            near = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0.75)
            also = f"; did you mean {near[0]}?" if near else ""
            raise _MalformedError(f": has a parameter that libpq does not know{also}")
        found[name] = value
    return {name: value for name, value in found.items() if value}


def _authority(rest: str) -> tuple[list[str], list[str], str]:
    """Hosts, their ports, and what follows."""
    hosts, ports = [], []
    while True:
        match = re.match(r"(?:\[([^\]]+)\]|([^\[:/?,][^:/?,]*|))(?::([^/?,]*))?", rest)
        if match is None or match[0] + rest[match.end() : match.end() + 1] == "[":
            raise _MalformedError(": write an IPv6 address in brackets, such as [2001:db8::1]")
        hosts.append(match[1] or match[2])
        ports.append(match[3] or "")
        rest = rest[match.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:]
    if rest and rest[0] not in "/?":
        raise _MalformedError(f": write {FORM}, with a port as HOST:PORT")
    if any("@" in host for host in hosts):
        raise _MalformedError(": has an @ too many; write that of a user or a password as %40")
    return hosts, ports, rest


def _put(found: dict[str, str], name: str, text: str) -> None:
    if text:
        found[name] = _decoded(text)


def _decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _MalformedError(": is not UTF-8") from None
    if re.search(r"%(?![0-9A-Fa-f]{2})", text) or "\0" in decoded:
        raise _MalformedError(": write special characters as %XX, and % itself as %25")
    if re.search(r"\s", text):
        raise _MalformedError(": has a space in it; write it as %20")
    return decoded


def _check(given: Mapping[str, str]) -> None:
    """Find mistakes that libpq would find at the first connection only."""
    hosts = len(given.get("host", given.get("hostaddr", "")).split(","))
    ports = given.get("port", "").split(",")
    if any(port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535) for port in ports):
        raise _MalformedError(
            "'s port: write a number from 1 to 65535, an IPv6 address in brackets, and special characters of a "
            "password as %XX"
        )
    if len(ports) not in (1, hosts):
        raise _MalformedError("'s port: write one for all hosts, or as many as there are hosts")
    if "host" in given and "hostaddr" in given and len(given["hostaddr"].split(",")) != hosts:
        raise _MalformedError("'s hostaddr: write as many as there are hosts")
    for name, words in _WORDS.items():
        if name in given and given[name] not in words:
            raise _MalformedError(f"'s {name}: write one of {', '.join(sorted(words))}")
    for name in _NUMBERS:
        if name in given and not re.fullmatch(r"-?[0-9]{1,9}", given[name]):
            raise _MalformedError(f"'s {name}: write a whole number")
