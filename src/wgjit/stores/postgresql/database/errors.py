"""Turns PostgreSQL's errors into errors that a person can act on (appendix A of its manual: SQLSTATE).

No text has a detail of the server's (`DETAIL: Failing row contains ...`), because that may hold a preshared key. For
the same reason the psycopg error is never the cause of ours: raise what `translate` returns `from None`.
"""

from __future__ import annotations

import psycopg

from wgjit.errors import StoreBusy, StoreError, StoreUnreachable
from wgjit.wire.key_text import without_keys

_BUSY = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available
    "57014",  # query_canceled, by a timeout
}

_ADVICE = {
    "3D000": "there is no such database; make it with `createdb`",
    "3F000": "there is no registry in this database; make it with `wgjit registry init`",
    "42P01": "there is no registry in this database; make it with `wgjit registry init`",
    "42501": "access is denied; give this role the rights that docs/REGISTRY.md lists",
    "25006": "this server takes no changes (a standby?); add target_session_attrs=read-write to the URL",
    "53100": "the server's disk is full; free space there, nothing else is needed",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left; raise max_connections, or put pgbouncer before it",
}

_ADVICE_FOR_CLASS = {
    "22": "a value is out of range",
    "23": "a rule of the schema refuses this row",
    "28": "the server does not let this user in; check user, password (passfile) and pg_hba.conf",
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


def translate(error: psycopg.Error, place: object) -> StoreError:
    """The StoreError for an error of PostgreSQL. Its text has no parameter of a statement, so it holds no secret."""
    code = code_of(error)
    if code in _BUSY:
        return StoreBusy(f"registry {place}: another program is writing; try again")
    if is_lost(error):
        return StoreUnreachable(f"registry {place}: {_first_line(error)}")
    if code is None:
        return StoreError(f"registry {place}: {_first_line(error)}")
    advice = _ADVICE.get(code) or _ADVICE_FOR_CLASS.get(code[:2])
    said = without_keys(error.diag.message_primary or f"SQLSTATE {code}")
    return StoreError(f"registry {place}: {advice} ({said})" if advice else f"registry {place}: {said}")


def _first_line(error: psycopg.Error) -> str:
    """What libpq or psycopg says, without details and without keys."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_keys(lines[0]) if lines else type(error).__name__
