"""Registers one peer by one call, the function `wgjit.register` (0004_records.sql).

The call gives out addresses, inserts the peer and its labels, and notes them in the audit log. An error undoes all of
it, and the transaction, if there is one around it. What is in the way of the peer is looked for after that.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from wgjit.model import AllowedIP, Peer
from wgjit.stores import audit_records, checks
from wgjit.stores.entries import Author, Entry, Pool, Verb
from wgjit.stores.postgresql.database.schema import Db
from wgjit.stores.postgresql.rows import peer_rows, pools
from wgjit.stores.postgresql.rows.texts import storable

_REGISTER = """
    SELECT wgjit.register(
        %s, %s::cidr[], %s, %s, %s, %s, %s, %s, %s::text[], %s::text[],
        %s::int[], %s::bigint[], %s::text[], %s, %s, %s, %s, %s, %s, %s)"""


class AddressLost(Exception):
    """Another program has registered an address since it was found free. Ask again."""


class NeedsTransaction(Exception):
    """The server's default is not a transaction that may write peers. Begin one that may, and ask again."""


def register(
    db: Db,
    peer: Peer,
    given: Mapping[str, str],
    some: Sequence[tuple[Pool, int]],
    *,
    by: Author,
    wait: int,
    limit: int | None = None,
) -> Peer:
    """Register a peer with labels and an address of each of these pools, given with their numbers.

    Returns the peer as registered. `wait`: milliseconds to wait for another writer. `limit`: milliseconds after which
    the server gives up; None is never. Raises NotReady, AddressLost, NeedsTransaction, PeerExists, AddressConflict,
    InvalidValue.
    """
    checks.check_peer(peer)
    # A pool's own prefix stands for the address: the server writes the addresses into the log's entry.
    shown = dataclasses.replace(peer, allowed_ips=(*peer.allowed_ips, *(pool.prefix for pool, _ in some)))
    actor, verb, _, _, name, details = audit_records.registered(Verb.ADD, Entry(shown, given)).columns(by)
    parameters = (
        *peer_rows.columns(peer),
        list(given) or "{}",
        list(given.values()) or "{}",
        *pools.columns(some),
        time.time(),
        storable(actor),
        verb,
        None if name is None else storable(name),
        details,
        wait,
        limit,
    )
    try:
        row = db.execute(_REGISTER, parameters, prepare=True).fetchone()
    except peer_rows.REFUSED:
        if db.info.transaction_status != TransactionStatus.IDLE:
            db.execute("ROLLBACK")
        error = peer_rows.explain(db, [peer])
        if error is None and some:
            raise AddressLost from None
        raise error or peer_rows.unexplained(peer) from None
    except (pg.FeatureNotSupported, pg.ReadOnlySqlTransaction):
        if db.info.transaction_status == TransactionStatus.IDLE:
            raise NeedsTransaction from None
        raise
    except (psycopg.IntegrityError, psycopg.DataError):
        raise peer_rows.unexplained(peer) from None
    assert row is not None
    fresh: list[AllowedIP] = []
    for (pool, _), address in zip(some, row[0], strict=True):
        if address is None:
            raise pools.NotReady(pool)
        _check_apart(peer, address)
        fresh.append(address)
    return dataclasses.replace(peer, allowed_ips=(*peer.allowed_ips, *fresh)) if some else peer


def _check_apart(peer: Peer, address: AllowedIP) -> None:
    """Raise AddressConflict for an address out of a pool that lies in one of the peer's own prefixes."""
    for prefix in peer.allowed_ips:
        if prefix.version == address.version and prefix.overlaps(address):
            raise checks.conflict(peer, address, peer, prefix)
