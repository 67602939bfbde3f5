"""Turns PostgreSQL's errors into errors that a person can act on (appendix A of its manual: SQLSTATE).

No text has a detail of the server's (`DETAIL: Failing row contains ...`), because that may hold a preshared key. For
the same reason the psycopg error is never the cause of ours: raise what `translate` returns `from None`.
"""

from __future__ import annotations

import re

import psycopg

from wgjit.errors import StoreBusy, StoreError, StoreUnreachable
from wgjit.wire.key_text import without_keys

_BUSY = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available
}

_NOT_LET_IN = "the server does not let this user in; check user, password (passfile) and pg_hba.conf"
_NO_DATABASE = "there is no such database; make it with `createdb -E UTF8 -T template0`"
_NO_CONNECTION = "the server has no connection left; raise max_connections, or put pgbouncer before it"

NO_REGISTRY = "there is no registry in this database; make it with `wgjit registry init`"

READ_ONLY = "25006"
"""read_only_sql_transaction"""

_ADVICE = {
    "3D000": _NO_DATABASE,
    "3F000": NO_REGISTRY,
    "42P01": NO_REGISTRY,
    "42501": "access is denied; give this role the rights that docs/REGISTRY.md lists",
    READ_ONLY: "this server takes no changes (a standby?); add target_session_attrs=read-write to the URL",
    "53100": "the server's disk is full; free space there, nothing else is needed",
    "53200": "the server is out of memory",
    "53300": _NO_CONNECTION,
}

_AT_CONNECT = (
    (r'database "[^"]*" does not exist', _NO_DATABASE),
    (r"password|pg_hba|authenticat|role \"", _NOT_LET_IN),
    (
        r"\bSSL\b|\bTLS\b|certificate",
        "TLS fails; check sslmode, sslrootcert and the server's certificate",
    ),
    (r"too many clients|connection slots", _NO_CONNECTION),
    (
        r"read-only|hot standby|in recovery",
        "no server of the URL is what its target_session_attrs asks for: a failover takes up to some minutes",
    ),
    (r"(resolve|translate) host", "the name of a host is not found; check the URL"),
    (r"starting up|shutting down|not yet accepting", "the server starts or ends; try again"),
    (r"refused|No such file", "no server listens there; check that it runs, and host and port in the URL"),
    (r"time(out|d out)|unreachable|No route", "a server does not answer; check that it runs, and firewalls between"),
)
"""Advice about a connection that was not made. libpq tells the reason in a text alone: no SQLSTATE comes with it.

What the program does depends on none of these. A server that speaks another language gets no advice.
"""

_ADVICE_FOR_CLASS = {
    "22": "a value is out of range",
    "23": "a rule of the schema refuses this row",
    "28": _NOT_LET_IN,
    "58": "the server cannot read or write its files; check its disk and log",
    "XX": "the server says that its data is damaged; check its log",
}


def code_of(error: psycopg.Error) -> str | None:
    """The SQLSTATE; None if the error did not come from the server."""
    return error.sqlstate or error.diag.sqlstate


def is_lost(error: psycopg.Error) -> bool:
    """Whether the server was not reached, or the connection broke."""
    code = code_of(error)
    if code is None:
        return isinstance(error, psycopg.OperationalError)
    return code.startswith("08") or code in ("57P01", "57P02", "57P03")


def is_stale(error: psycopg.Error) -> bool:
    """Whether a prepared statement may be the reason: a migration has changed what it returns."""
    return code_of(error) == "0A000"  # feature_not_supported: "cached plan must not change result type"


def translate(error: psycopg.Error, place: object, *, code: str | None = None) -> StoreError:
    """The StoreError for an error of PostgreSQL. Its text has no parameter of a statement, so it holds no secret.

    `code`: the SQLSTATE that tells more than the error's own.
    """
    code = code or code_of(error)
    if code == "57014":  # query_canceled, by a timeout
        return StoreBusy(f"registry {place}: the server took too long for this; try again, or ask for less")
    if code in _BUSY:
        return StoreBusy(f"registry {place}: another program is writing; try again")
    if is_lost(error):
        return StoreUnreachable(f"registry {place}: {_with_advice(error)}")
    if code is None:
        return StoreError(f"registry {place}: {_first_line(error)}")
    advice = _ADVICE.get(code) or _ADVICE_FOR_CLASS.get(code[:2])
    said = without_keys(error.diag.message_primary or f"SQLSTATE {code}")
    return StoreError(f"registry {place}: {advice} ({said})" if advice else f"registry {place}: {said}")


def _with_advice(error: psycopg.Error) -> str:
    """Why the server was not reached, of several servers each."""
    tried = re.findall(r"^- host: .*?, hostaddr: [^:]*: (.*)$", str(error), re.MULTILINE)
    reasons = without_keys("; ".join(dict.fromkeys(map(_short, tried))) or _short(_first_line(error)))
    advice = _ADVICE.get(code_of(error) or "") or next(
        (advice for pattern, advice in _AT_CONNECT if re.search(pattern, reasons)), None
    )
    return f"{advice} ({reasons})" if advice else reasons


def _short(reason: str) -> str:
    return re.sub(r"^connection (failed|is bad): ", "", reason)


def _first_line(error: psycopg.Error) -> str:
    """What libpq or psycopg says, without details and without keys."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_keys(lines[0]) if lines else type(error).__name__
