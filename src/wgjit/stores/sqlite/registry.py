"""The registry file as commands and API use it: peers, claims, tokens, the audit log, kept answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wgjit.errors import StoreError
from wgjit.stores.entries import Pool
from wgjit.stores.sqlite.audit import AuditLog
from wgjit.stores.sqlite.claims import Claims
from wgjit.stores.sqlite.file import schema
from wgjit.stores.sqlite.file.connection import Link
from wgjit.stores.sqlite.gateways import Gateways
from wgjit.stores.sqlite.idempotency import Answers
from wgjit.stores.sqlite.peers import Peers
from wgjit.stores.sqlite.store import SqliteStore
from wgjit.stores.sqlite.tokens import Tokens


class SqliteRegistry(SqliteStore):
    """Implements `wgjit.stores.base.Registry`. Opens the file as SqliteStore does, and raises the same errors.

    `pools`: the pools whose freed addresses go into quarantine.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        pools: Sequence[Pool] = (),
        create: bool = True,
        read_only: bool = False,
        timeout: float = 0.25,
        cache: int = schema.PAGE_CACHE,
    ) -> None:
        super().__init__(path, create=create, read_only=read_only, timeout=timeout, cache=cache)
        if not read_only:
            self._refuse_replica()
        self._hasty = None if read_only else Link(self.path, read_only=False, timeout=0.0, cache=cache)
        self.peers = Peers(self.path, self._reader, self._writer, pools, timeout, self.lookup)
        self.claims = Claims(self._writer, self.peers.registration, self.former)
        self.tokens = Tokens(self._reader, self._writer, self._hasty)
        self.audit = AuditLog(self._reader, self._writer)
        self.gateways = Gateways()
        self.answers = Answers(self._reader, self._writer)

    def _refuse_replica(self) -> None:
        with self._reader as db:
            is_replica = db.execute("SELECT 1 FROM replica WHERE what = 'instance'").fetchone() is not None
        if is_replica:
            super().close()
            raise StoreError(
                f"registry {self.path}: is a gateway's copy of a registry in PostgreSQL; change that one, by its URL"
            )

    def close(self) -> None:
        super().close()
        if self._hasty is not None:
            self._hasty.close()
