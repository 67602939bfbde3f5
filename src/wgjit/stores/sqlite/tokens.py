"""Tokens, which programs show to the HTTP API. `token_rules` has what a token is.

The functions work on an open connection, and the caller commits the transaction.
"""

from __future__ import annotations

import contextlib
import hmac
import sqlite3
import time

from wgjit.errors import StoreError
from wgjit.stores import audit_records, token_rules
from wgjit.stores.entries import Author, Scope, Token
from wgjit.stores.sqlite import audit
from wgjit.stores.sqlite.file.connection import Link


def create(
    db: sqlite3.Connection,
    name: str,
    scope: Scope,
    now: float,
    expires_at: float | None = None,
    rate: float | None = None,
) -> tuple[Token, str]:
    """Make a token. Returns the token and its text, which is stored nowhere. Raises InvalidValue, TokenExists."""
    token_rules.check(name, now, expires_at, rate)
    if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
        raise token_rules.taken(name)
    while True:
        number = token_rules.new_id()
        if db.execute("SELECT 1 FROM tokens WHERE id = ?", (number,)).fetchone() is None:
            break
    secret = token_rules.new_secret()
    db.execute(
        "INSERT INTO tokens (id, name, hash, scope, rate, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, name, secret.hash, scope, rate, now, expires_at),
    )
    return Token(number, name, scope, rate, now, expires_at, None, None), f"wgjit_{number}_{secret.text}"


def page(db: sqlite3.Connection, limit: int, after: str | None) -> list[Token]:
    """The first `limit` tokens by name, or the first after a name."""
    query = f"SELECT {token_rules.COLUMNS} FROM tokens WHERE name > ? ORDER BY name LIMIT ?"
    return [token_rules.of_row(*row) for row in db.execute(query, (after or "", limit))]


def every(db: sqlite3.Connection) -> list[Token]:
    """All tokens by name, also those that are expired or revoked."""
    return [token_rules.of_row(*row) for row in db.execute(f"SELECT {token_rules.COLUMNS} FROM tokens ORDER BY name")]


def revoke(db: sqlite3.Connection, handle: str, now: float) -> tuple[Token, bool]:
    """Revoke a token. Returns the token, and False if it was revoked before. Raises NoSuchToken, AmbiguousHandle."""
    query = f"SELECT {token_rules.COLUMNS} FROM tokens WHERE name = ?1 OR id = ?1"
    token = token_rules.meant(handle, [token_rules.of_row(*row) for row in db.execute(query, (handle,)).fetchall()])
    if token.revoked_at is not None:
        return token, False
    db.execute("UPDATE tokens SET revoked_at = ? WHERE id = ?", (now, token.id))
    query = f"SELECT {token_rules.COLUMNS} FROM tokens WHERE id = ?"
    return token_rules.of_row(*db.execute(query, (token.id,)).fetchone()), True


def authenticate(db: sqlite3.Connection, text: str, now: float) -> Token | None:
    """The token of this text; None if there is none, or if it is expired or revoked."""
    if (parsed := token_rules.parse(text)) is None:
        return None
    number, shown = parsed
    row = db.execute(f"SELECT hash, {token_rules.COLUMNS} FROM tokens WHERE id = ?", (number,)).fetchone()
    if row is None or not hmac.compare_digest(row[0], shown):
        return None
    token = token_rules.of_row(*row[1:])
    return token if token.is_valid(now) else None


def note_use(db: sqlite3.Connection, token: Token, now: float) -> None:
    """Note that the token was used."""
    db.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (now, token.id))


class Tokens:
    """The tokens of an open registry. `hasty`: a connection that writes at once or not; None notes no uses."""

    def __init__(self, reader: Link, writer: Link, hasty: Link | None) -> None:
        self._reader = reader
        self._writer = writer
        self._hasty = hasty

    def create(
        self, name: str, scope: Scope, *, by: Author, expires_at: float | None = None, rate: float | None = None
    ) -> tuple[Token, str]:
        """Make a token. Returns the token and its text, which is shown once and stored nowhere.

        `expires_at` in Unix seconds, `rate` in requests a second. Raises InvalidValue, TokenExists.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            token, text = create(db, name, scope, time.time(), expires_at, rate)
            audit.write(db, by, audit_records.token_created(token))
            db.execute("COMMIT")
        return token, text

    def every(self) -> list[Token]:
        """All tokens by name, also those that are expired or revoked."""
        with self._reader as db:
            return every(db)

    def page(self, limit: int, after: str | None = None) -> tuple[list[Token], str | None]:
        """The first `limit` tokens by name, or the next after a page's cursor, and the cursor of the next page."""
        with self._reader as db:
            found = page(db, limit + 1, after)
        return found[:limit], found[limit - 1].name if len(found) > limit else None

    def revoke(self, handle: str, *, by: Author) -> Token:
        """Revoke the token with this name or id. Harmless if the token is revoked already.

        Raises NoSuchToken, AmbiguousHandle.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            token, is_news = revoke(db, handle, time.time())
            if is_news:
                audit.write(db, by, audit_records.token_revoked(token))
            db.execute("COMMIT")
        return token

    def hashes(self, now: float) -> dict[str, bytes]:
        """The hashes of all valid tokens by id. `now` in Unix seconds."""
        query = f"SELECT id, hash FROM tokens WHERE {token_rules.VALID.format(now='?')}"
        with self._reader as db:
            return dict(db.execute(query, (now,)).fetchall())

    def authenticate(self, text: str, now: float) -> Token | None:
        """The token of this text. None if there is none, or if it is expired or revoked. `now` in Unix seconds.

        The token's use is noted at most once a minute. It is not noted while another program writes, so that the
        request does not wait.
        """
        with self._reader as db:
            token = authenticate(db, text, now)
        if token is not None and self._hasty is not None and token_rules.is_use_due(token, now):
            with contextlib.suppress(StoreError), self._hasty as db:
                note_use(db, token, now)
        return token
