"""Tokens, which programs show to the HTTP API. The file holds only their hashes, so nobody can read a token in it.

A token is `wgjit_ID_SECRET`: ID is public (8 characters of base32), SECRET is 32 random bytes in base64url. The hash is
one SHA-256. A slow hash protects passwords against guessing, but nobody guesses 256 random bits. Here a slow hash would
only make requests with made-up tokens expensive for the server.

The functions work on an open connection, and the caller commits the transaction.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import sqlite3
import time

from wgjit.errors import InvalidValue, NoSuchToken, StoreError, TokenExists
from wgjit.model import refuse_key
from wgjit.stores.entries import Author, Scope, Token, Verb
from wgjit.stores.sqlite import audit
from wgjit.stores.sqlite.file.connection import Link
from wgjit.wire.key_text import quoted, shown

NAME_LENGTH = 100
"""Greatest length of a token's name, characters."""

USE_NOTED = 60.0
"""Seconds between two notes of a token's last use. A write for each request would cost too much."""

# The last character holds four bits of the secret. A decoder would ignore its other two bits.
_TEXT = re.compile(r"wgjit_([a-z2-7]{8})_([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])")
_COLUMNS = "id, name, scope, rate, created_at, expires_at, last_used_at, revoked_at"


def create(
    db: sqlite3.Connection,
    name: str,
    scope: Scope,
    now: float,
    expires_at: float | None = None,
    rate: float | None = None,
) -> tuple[Token, str]:
    """Make a token. Returns the token and its text, which is stored nowhere. Raises InvalidValue, TokenExists."""
    if not name or len(name) > NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise InvalidValue(
            f"name {quoted(name, NAME_LENGTH)}: write 1 to {NAME_LENGTH} printable characters, no space at either end",
            field="name",
        )
    refuse_key(name, "name")
    if rate is not None and not 0 < rate < float("inf"):
        raise InvalidValue(f"rate {rate:g}: write requests a second, more than 0", field="rate")
    if expires_at is not None and not now < expires_at < float("inf"):
        raise InvalidValue(
            "expires_at: is past already; write a moment to come, or leave it out for never", field="expires_at"
        )
    if db.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
        raise TokenExists(
            f"name {quoted(name)}: a token had it before, and the audit log knows it by that; choose another",
            field="name",
        )
    while True:
        number = base64.b32encode(secrets.token_bytes(5)).decode().lower()
        if db.execute("SELECT 1 FROM tokens WHERE id = ?", (number,)).fetchone() is None:
            break
    secret = secrets.token_bytes(32)
    db.execute(
        "INSERT INTO tokens (id, name, hash, scope, rate, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, name, hashlib.sha256(secret).digest(), scope, rate, now, expires_at),
    )
    text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return Token(number, name, scope, rate, now, expires_at, None, None), f"wgjit_{number}_{text}"


def page(db: sqlite3.Connection, limit: int, after: str | None) -> list[Token]:
    """The first `limit` tokens by name, or the first after a name."""
    query = f"SELECT {_COLUMNS} FROM tokens WHERE name > ? ORDER BY name LIMIT ?"
    return [_token(*row) for row in db.execute(query, (after or "", limit))]


def every(db: sqlite3.Connection) -> list[Token]:
    """All tokens by name, also those that are expired or revoked."""
    return [_token(*row) for row in db.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY name")]


def revoke(db: sqlite3.Connection, handle: str, now: float) -> tuple[Token, bool]:
    """Revoke a token. Returns the token, and False if it was revoked before. Raises NoSuchToken."""
    query = f"SELECT {_COLUMNS} FROM tokens WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC LIMIT 1"
    row = db.execute(query, (handle,)).fetchone()
    if row is None:
        raise NoSuchToken(
            f"no token has the name or id {quoted(handle, NAME_LENGTH)}", advice="`wgjit token list` shows all"
        )
    token = _token(*row)
    if token.revoked_at is not None:
        return token, False
    db.execute("UPDATE tokens SET revoked_at = ? WHERE id = ?", (now, token.id))
    return _token(*db.execute(query, (handle,)).fetchone()), True


def authenticate(db: sqlite3.Connection, text: str, now: float) -> Token | None:
    """The token of this text; None if there is none, or if it is expired or revoked."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    shown = hashlib.sha256(base64.urlsafe_b64decode(match[2] + "=")).digest()
    row = db.execute(f"SELECT hash, {_COLUMNS} FROM tokens WHERE id = ?", (match[1],)).fetchone()
    if row is None or not hmac.compare_digest(row[0], shown):
        return None
    token = _token(*row[1:])
    return token if token.is_valid(now) else None


def is_use_due(token: Token, now: float) -> bool:
    """Whether the token's use is to be noted. A clock that was set back counts as time that has passed."""
    return token.last_used_at is None or abs(now - token.last_used_at) >= USE_NOTED


def note_use(db: sqlite3.Connection, token: Token, now: float) -> None:
    """Note that the token was used."""
    db.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (now, token.id))


def _token(
    number: str,
    name: str,
    scope: str,
    rate: float | None,
    created_at: float,
    expires_at: float | None,
    last_used_at: float | None,
    revoked_at: float | None,
) -> Token:
    return Token(number, shown(name), Scope(scope), rate, created_at, expires_at, last_used_at, revoked_at)


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
            details = {"id": token.id, "scope": scope, "expires_at": expires_at, "rate": rate}
            audit.write(db, by, Verb.TOKEN_CREATE, details, name=name)
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
        """Revoke the token with this name or id. Harmless if the token is revoked already. Raises NoSuchToken."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            token, is_news = revoke(db, handle, time.time())
            if is_news:
                audit.write(db, by, Verb.TOKEN_REVOKE, {"id": token.id}, name=token.name)
            db.execute("COMMIT")
        return token

    def authenticate(self, text: str, now: float) -> Token | None:
        """The token of this text. None if there is none, or if it is expired or revoked. `now` in Unix seconds.

        The token's use is noted at most once a minute. It is not noted while another program writes, so that the
        request does not wait.
        """
        with self._reader as db:
            token = authenticate(db, text, now)
        if token is not None and self._hasty is not None and is_use_due(token, now):
            with contextlib.suppress(StoreError), self._hasty as db:
                note_use(db, token, now)
        return token
