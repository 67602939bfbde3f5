"""What a registry file keeps beside its peers: the audit log, tokens, answers that may have to be given again."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from wgjit.errors import StoreError
from wgjit.stores import audit, idempotency, schema, tokens
from wgjit.stores.audit import AuditFilter, AuditPage, Author, Verb
from wgjit.stores.connection import Link
from wgjit.stores.idempotency import Answer
from wgjit.stores.sqlite import SqliteStore
from wgjit.stores.tokens import Scope, Token

_PRUNED = 100_000
"""Entries of the audit log deleted per transaction."""


class Records(SqliteStore):
    """See the head of this file; opened as SqliteStore is, and raises what that raises."""

    def __init__(
        self,
        path: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        timeout: float = 0.25,
        cache: int = schema.PAGE_CACHE,
    ) -> None:
        super().__init__(path, create=create, read_only=read_only, timeout=timeout, cache=cache)
        self._hasty = None if read_only else Link(self.path, read_only=False, timeout=0.0, cache=cache)

    def close(self) -> None:
        super().close()
        if self._hasty is not None:
            self._hasty.close()

    # --- the audit log ------------------------------------------------------------------------------------------

    def audit_entries(self, wanted: AuditFilter, limit: int, after: int | None = None) -> AuditPage:
        """The newest `limit` entries that fit, or those behind (so, older than) a page's cursor."""
        with self._reader as db:
            return audit.page(db, wanted, limit, after)

    def prune_audit(self, before: float, *, by: Author) -> int:
        """Delete the entries from before a moment (Unix seconds), a batch a transaction, each noted; gives how many."""
        total = 0
        while True:
            with self._writer as db:
                db.execute("BEGIN IMMEDIATE")
                count = audit.prune(db, by, before, _PRUNED)
                db.execute("COMMIT")
            total += count
            if count < _PRUNED:
                return total

    # --- tokens -------------------------------------------------------------------------------------------------

    def create_token(
        self, name: str, scope: Scope, *, by: Author, expires_at: float | None = None, rate: float | None = None
    ) -> tuple[Token, str]:
        """Make a token; gives it and its text, which is shown once and kept nowhere.

        `expires_at` in Unix seconds, `rate` in requests a second. Raises InvalidValue, TokenExists.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            token, text = tokens.create(db, name, scope, time.time(), expires_at, rate)
            details = {"id": token.id, "scope": scope, "expires_at": expires_at, "rate": rate}
            audit.write(db, by, Verb.TOKEN_CREATE, details, name=name)
            db.execute("COMMIT")
        return token, text

    def tokens(self) -> list[Token]:
        """All of them, by name; also those that are expired or revoked."""
        with self._reader as db:
            return tokens.every(db)

    def token_page(self, limit: int, after: str | None = None) -> tuple[list[Token], str | None]:
        """The first `limit` tokens by name, or those behind a page's cursor; and the cursor of the next page."""
        with self._reader as db:
            found = tokens.page(db, limit + 1, after)
        return found[:limit], found[limit - 1].name if len(found) > limit else None

    def revoke_token(self, handle: str, *, by: Author) -> Token:
        """Make the token of this name or id worthless; harmless if it is. Raises NoSuchToken."""
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            token, is_news = tokens.revoke(db, handle, time.time())
            if is_news:
                audit.write(db, by, Verb.TOKEN_REVOKE, {"id": token.id}, name=token.name)
            db.execute("COMMIT")
        return token

    def authenticate(self, text: str, now: float) -> Token | None:
        """The token of this text; None if there is none, or it is expired or revoked. `now` in Unix seconds.

        Notes its use at most once a minute, and not if somebody else is writing: nobody waits for that.
        """
        with self._reader as db:
            token = tokens.authenticate(db, text, now)
        if token is not None and self._hasty is not None and tokens.is_use_due(token, now):
            with contextlib.suppress(StoreError), self._hasty as db:
                tokens.note_use(db, token, now)
        return token

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(self, key: str, *, by: Author) -> Answer | None:
        """What was answered to this actor's request with this idempotency key within the last day."""
        with self._reader as db:
            return idempotency.find(db, by, key, time.time())

    def keep_answer(self, key: str, answer: Answer, *, by: Author) -> None:
        """Keep an answer by itself: of a request, such as an import, that may be done again without harm.

        A change that may not be is given a `Once`.
        """
        with self._writer as db:
            db.execute("BEGIN IMMEDIATE")
            idempotency.write(db, by, key, answer, time.time())
            db.execute("COMMIT")
