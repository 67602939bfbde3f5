"""The registry of record as commands and API use it: peers, claims, tokens, the audit log, gateways, kept answers."""

from __future__ import annotations

from collections.abc import Sequence

from wgjit.stores.entries import Pool
from wgjit.stores.postgresql.audit import AuditLog
from wgjit.stores.postgresql.claims import Claims
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.postgresql.gateways import Gateways
from wgjit.stores.postgresql.idempotency import Answers
from wgjit.stores.postgresql.peers import Peers
from wgjit.stores.postgresql.store import PostgresStore
from wgjit.stores.postgresql.tokens import Tokens


class PostgresRegistry(PostgresStore):
    """Implements `wgjit.stores.base.Registry`. Opens the database as PostgresStore does, and raises the same errors.

    `pools`: the pools whose freed addresses go into quarantine.
    """

    def __init__(
        self,
        url: DatabaseUrl,
        *,
        pools: Sequence[Pool] = (),
        read_only: bool = False,
        timeout: float = 5.0,
        patience: float | None = None,
    ) -> None:
        super().__init__(url, read_only=read_only, timeout=timeout, patience=patience)
        self.peers = Peers(self._database, pools, self.lookup)
        self.claims = Claims(self._database, self.peers.registration, self.former)
        self.tokens = Tokens(self._database, read_only=read_only)
        self.audit = AuditLog(self._database)
        self.gateways = Gateways(self._database)
        self.answers = Answers(self._database)
