"""Claims and holdings in the registry of record merge as in the model, and the answer tells which lost."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors as pg

from lab.registry import LAB, LabPostgres, LabRegistry
from tests.contracts.store import claim, inferred, key, peer
from tests.postgresql.conftest import Shell
from tests.postgresql.replicas import describe, holding
from tests.postgresql.test_rules import at_once
from tests.unit.stores.test_holdings import HOLDINGS
from wgjit.errors import GatewayLives, NoSuchGateway
from wgjit.model import Claim, Holding, Registration
from wgjit.stores.entries import AuditFilter, Verb
from wgjit.stores.postgresql.database import schema
from wgjit.stores.postgresql.database.url import DatabaseUrl
from wgjit.stores.postgresql.rows import claim_rows, gateway_rows

MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

_ORDERS = (1, -1, 1, -1)

CLAIMS = st.one_of(
    st.builds(claim, st.just(1), st.integers(1, 5).map(float), st.sampled_from(["a", "b"])),
    st.builds(
        lambda proven, more: inferred(1, float(proven + more), proven=float(proven)),
        st.integers(1, 5),
        st.integers(0, 3),
    ),
)


@pytest.fixture
def db(registry: LabPostgres, url: str) -> Iterator[psycopg.Connection]:
    registry.add([peer(1)])
    with schema.connect(DatabaseUrl(url)) as connection:
        yield connection


@MANY
@given(st.lists(HOLDINGS, min_size=1, max_size=6))
def test_holdings_merge_as_in_the_model(
    registry: LabPostgres, shell: Shell, db: psycopg.Connection, said: list[Holding]
) -> None:
    shell.execute("DELETE FROM holdings")
    kept: Holding | None = None
    for each in said:
        before, kept = kept, each.over(kept)
        _, saved = claim_rows.save_said(db, [], [each])
        assert (key(1) in saved) == (kept != before), "the answer tells what is new there"
        assert claim_rows.greater_holdings(db, [key(1)]) == [kept]
        assert registry.lookup(key(1)) == Registration(peer(1), None, kept)


@MANY
@given(st.lists(CLAIMS, min_size=1, max_size=6))
def test_claims_merge_as_in_the_model(
    registry: LabPostgres, shell: Shell, db: psycopg.Connection, said: list[Claim]
) -> None:
    shell.execute("DELETE FROM claims")
    kept: Claim | None = None
    for each in said:
        before, kept = kept, each.over(kept)
        saved, _ = claim_rows.save_said(db, [each], [])
        assert (key(1) in saved) == (kept != before)
        assert claim_rows.greater_claims(db, [key(1)]) == [kept]


def test_keys_that_nobody_has_are_left_out(registry: LabPostgres, db: psycopg.Connection) -> None:
    registry.add([peer(2)])
    registry.remove(key(2))
    saved = claim_rows.save_said(db, [claim(n, 1.0) for n in (3, 2, 1)], [holding(n, 1.0) for n in (3, 2, 1)])
    assert saved == ({key(1), key(2)}, {key(1), key(2)})
    assert claim_rows.greater_holdings(db, [key(3)]) == []
    assert claim_rows.save_said(db, [], []) == (set(), set())


def test_many_gateways_at_once_do_not_block_one_another(registry: LabPostgres, url: str) -> None:
    """Their keys come in any order; the statement sorts them."""
    registry.add(peer(n) for n in range(1, 101))

    def gateway(name: str, order: int) -> int:
        with schema.connect(DatabaseUrl(url)) as db:
            for seconds in range(1, 25):
                numbers = range(1, 101)[::order]
                claim_rows.save_said(
                    db,
                    [claim(n, float(seconds), name) for n in numbers],
                    [holding(n, float(seconds), name) for n in numbers],
                )
        return 1

    calls = [
        lambda name=name, order=order: gateway(name, order) for name, order in zip("abcd", (1, -1, 1, -1), strict=True)
    ]
    assert at_once(*calls) == [1, 1, 1, 1]
    for n in range(1, 101):
        found = registry.lookup(key(n))
        assert found is not None
        assert found.holding is not None
        assert (found.holding.gateway, found.holding.timestamp) == ("d", claim(n, 24.0).timestamp)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE holdings SET timestamp = '\\x000000000000000000000000'",
        "UPDATE holdings SET takeovers = 0",
        "UPDATE holdings SET gateway = 'a'",
        "UPDATE holdings SET epoch = 1",
        "UPDATE holdings SET takeovers = -1",
        "UPDATE holdings SET public_key = substr('\\x00'::bytea || public_key, 1, 32)",
        "TRUNCATE holdings",
        "INSERT INTO gateways VALUES ('', '\\x00', 1, '\\x00', 'wg0', NULL, '1', 0, NULL, NULL, 1, 1)",
    ],
)
def test_psql_cannot_make_a_holding_smaller(
    registry: LabPostgres, shell: Shell, db: psycopg.Connection, statement: str
) -> None:
    claim_rows.save_said(db, [], [holding(1, 5.0, takeovers=3)])
    with pytest.raises((psycopg.IntegrityError, psycopg.DataError, pg.FeatureNotSupported)):
        shell.execute(statement)
    assert registry.lookup(key(1)) == Registration(peer(1), None, holding(1, 5.0, takeovers=3))


def test_a_reset_forgets_the_holding_too_and_a_removal_does_not(registry: LabPostgres, db: psycopg.Connection) -> None:
    registry.add([peer(2)])
    claim_rows.save_said(db, [claim(n, 5.0) for n in (1, 2)], [holding(n, 5.0) for n in (1, 2)])
    registry.claims.reset(key(1), by=LAB)
    assert registry.lookup(key(1)) == Registration(peer(1))
    registry.remove(key(2))
    registry.add([peer(2)])
    assert registry.lookup(key(2)) == Registration(peer(2), claim(2, 5.0), holding(2, 5.0))
    registry.rotate(key(2), key(3))
    assert registry.lookup(key(3)) == Registration(peer(3)), "a new key was held by nobody yet"


# --- gateways ---------------------------------------------------------------------------------------------------


def beat(db: psycopg.Connection, name: str, instance: int, number: int = 200) -> bool:
    it = describe(name, number=number)
    row = (
        name,
        bytes([instance] * 16),
        it.epoch,
        it.public_key,
        "wg0",
        it.address,
        it.version,
        5,
        0.25,
        None,
        1.5,
        False,
        None,
    )
    return db.execute(gateway_rows.BEAT, row).fetchone() is not None


def test_gateways_are_listed_and_forgotten_when_they_are_gone(
    registry: LabPostgres, shell: Shell, db: psycopg.Connection
) -> None:
    assert registry.gateways.every() == []
    assert beat(db, "paris", 1)
    assert beat(db, "oslo", 2)
    assert [(g.name, g.residents, g.lag, g.lives) for g in registry.gateways.every()] == [
        ("oslo", 5, 0.25, True),
        ("paris", 5, 0.25, True),
    ]
    with pytest.raises(GatewayLives, match="oslo"):
        registry.gateways.forget("oslo", by=LAB)
    with pytest.raises(NoSuchGateway, match="rome"):
        registry.gateways.forget("rome", by=LAB)
    shell.execute("UPDATE gateways SET seen_at = seen_at - 11 WHERE name = 'oslo'")
    assert [g.lives for g in registry.gateways.every()] == [False, True]
    assert registry.gateways.forget("oslo", by=LAB).instance == bytes([2] * 16)
    assert [g.name for g in registry.gateways.every()] == ["paris"]
    (entry,) = [each for each in registry.audit.page(AuditFilter(), 10).entries if each.verb == Verb.GATEWAY_FORGET]
    assert entry.name == "oslo"


def test_a_file_has_no_gateways(tmp_path: object) -> None:
    own = LabRegistry(f"{tmp_path}/registry.db")
    assert own.gateways.every() == []
    with pytest.raises(NoSuchGateway):
        own.gateways.forget("paris", by=LAB)
    own.close()


def test_a_name_belongs_to_one_living_gateway(shell: Shell, db: psycopg.Connection) -> None:
    assert beat(db, "paris", 1)
    assert beat(db, "paris", 1), "the same one, started again"
    assert not beat(db, "paris", 2)
    shell.execute("UPDATE gateways SET seen_at = seen_at - 10")
    assert beat(db, "paris", 2), "the other is gone"
    assert not beat(db, "paris", 1)
