"""Tokens, which programs show to the HTTP API. `token_rules` has what a token is."""

from __future__ import annotations

import contextlib
import hmac
import time

from psycopg import errors as pg

from wgjit.errors import StoreError
from wgjit.stores import audit_records, token_rules
from wgjit.stores.entries import Author, Scope, Token
from wgjit.stores.postgresql import audit
from wgjit.stores.postgresql.database.connection import Database
from wgjit.stores.postgresql.rows.texts import storable

_HANDLED = f"SELECT {token_rules.COLUMNS} FROM wgjit.tokens WHERE name = %(handle)s OR id = %(handle)s"


class Tokens:
    """The tokens of an open registry. `read_only` notes no uses."""

    def __init__(self, database: Database, *, read_only: bool) -> None:
        self._database = database
        self._notes_uses = not read_only

    def create(
        self, name: str, scope: Scope, *, by: Author, expires_at: float | None = None, rate: float | None = None
    ) -> tuple[Token, str]:
        """Make a token. Returns the token and its text, which is shown once and stored nowhere.

        `expires_at` in Unix seconds, `rate` in requests a second. Raises InvalidValue, TokenExists.
        """
        now = time.time()
        token_rules.check(name, now, expires_at, rate)
        secret = token_rules.new_secret()
        with self._database.change() as db:
            while True:
                number = token_rules.new_id()
                try:
                    with db.transaction():
                        db.execute(
                            "INSERT INTO wgjit.tokens (id, name, hash, scope, rate, created_at, expires_at) "
                            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                            (number, name, secret.hash, scope.value, rate, now, expires_at),
                        )
                    break
                except pg.UniqueViolation:
                    if db.execute("SELECT 1 FROM wgjit.tokens WHERE name = %s", (name,)).fetchone():
                        raise token_rules.taken(name) from None
            token = Token(number, name, scope, rate, now, expires_at, None, None)
            audit.write(db, by, [audit_records.token_created(token)])
        return token, f"wgjit_{number}_{secret.text}"

    def every(self) -> list[Token]:
        """All tokens by name, also those that are expired or revoked."""
        with self._database.look() as db:
            rows = db.execute(f"SELECT {token_rules.COLUMNS} FROM wgjit.tokens ORDER BY name").fetchall()
        return [token_rules.of_row(*row) for row in rows]

    def page(self, limit: int, after: str | None = None) -> tuple[list[Token], str | None]:
        """The first `limit` tokens by name, or the next after a page's cursor, and the cursor of the next page."""
        query = f"SELECT {token_rules.COLUMNS} FROM wgjit.tokens WHERE name > %s ORDER BY name LIMIT %s"
        with self._database.look() as db:
            rows = db.execute(query, (storable(after or ""), limit + 1)).fetchall()
        found = [token_rules.of_row(*row) for row in rows]
        return found[:limit], found[limit - 1].name if len(found) > limit else None

    def revoke(self, handle: str, *, by: Author) -> Token:
        """Revoke the token with this name or id. Harmless if the token is revoked already.

        Raises NoSuchToken, AmbiguousHandle.
        """
        wanted = {"handle": storable(handle)}
        with self._database.change() as db:
            rows = db.execute(f"{_HANDLED} FOR UPDATE", wanted).fetchall()
            token = token_rules.meant(handle, [token_rules.of_row(*row) for row in rows])
            if token.revoked_at is None:
                query = f"UPDATE wgjit.tokens SET revoked_at = %s WHERE id = %s RETURNING {token_rules.COLUMNS}"
                row = db.execute(query, (time.time(), token.id)).fetchone()
                assert row is not None
                token = token_rules.of_row(*row)
                audit.write(db, by, [audit_records.token_revoked(token)])
        return token

    def hashes(self, now: float) -> dict[str, bytes]:
        """The hashes of all valid tokens by id. `now` in Unix seconds."""
        query = f"SELECT id, hash FROM wgjit.tokens WHERE {token_rules.VALID.format(now='%s')}"
        with self._database.look() as db:
            return {number: bytes(known) for number, known in db.execute(query.encode(), (now,)).fetchall()}

    def authenticate(self, text: str, now: float) -> Token | None:
        """The token of this text. None if there is none, or if it is expired or revoked. `now` in Unix seconds.

        The token's use is noted at most once a minute. It is not noted while another program notes one, so that the
        request does not wait.
        """
        if (parsed := token_rules.parse(text)) is None:
            return None
        number, shown = parsed
        query = f"SELECT hash, {token_rules.COLUMNS} FROM wgjit.tokens WHERE id = %s"
        with self._database.look() as db:
            row = db.execute(query, (number,)).fetchone()
        if row is None or not hmac.compare_digest(row[0], shown):
            return None
        token = token_rules.of_row(*row[1:])
        if not token.is_valid(now):
            return None
        if self._notes_uses and token_rules.is_use_due(token, now):
            with contextlib.suppress(StoreError), self._database.change() as db:
                db.execute(
                    "UPDATE wgjit.tokens SET last_used_at = %s "
                    "WHERE id = (SELECT id FROM wgjit.tokens WHERE id = %s FOR UPDATE SKIP LOCKED)",
                    (now, token.id),
                )
        return token
