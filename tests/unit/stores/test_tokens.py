"""Tokens: what is let in, and what is not."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters, digits

import pytest

from lab.registry import LAB, LabRegistry
from tests.unit.stores.entered import entered
from wgjit.errors import AmbiguousHandle, InvalidValue, NoSuchToken, TokenExists
from wgjit.stores.entries import Scope
from wgjit.stores.token_rules import USE_NOTED, parse

NOW = 2_000_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LabRegistry]:
    with contextlib.closing(LabRegistry(tmp_path / "peers.db")) as registry:
        yield registry


@pytest.mark.parametrize("scope", list(Scope))
def test_a_token_is_let_in_with_its_scope(registry: LabRegistry, scope: Scope) -> None:
    token, text = registry.tokens.create("deploy", scope, by=LAB, rate=5.0)
    assert text.startswith(f"wgjit_{token.id}_")
    found = registry.tokens.authenticate(text, time.time())
    assert found is not None
    assert (found.id, found.name, found.scope, found.rate) == (token.id, "deploy", scope, 5.0)


def test_what_is_not_exactly_a_tokens_text_is_not_let_in(registry: LabRegistry) -> None:
    token, text = registry.tokens.create("deploy", Scope.ADMIN, by=LAB)
    _, other = registry.tokens.create("other", Scope.ADMIN, by=LAB)
    secret, strange = text.rsplit("_", 1)[1][-43:], other[-43:]
    wrong = [
        "",
        "wgjit",
        token.id,
        secret,
        text[:-1],
        text + "A",
        text + "\n",
        " " + text,
        text.upper(),
        text.replace("wgjit_", "wgjit-", 1),
        f"wgjit_{token.id}_{strange}",
        f"wgjit_{token.id}_{'A' * 43}",
        f"wgjit_aaaaaaaa_{secret}",
        f"wgjit_{token.id}_{'é' * 43}",
        f"wgjit_{token.id}_{'٣' * 43}",
        f"wgjit_%_{secret}",
        *(text[:-1] + last for last in ascii_letters + digits + "-_" if last != text[-1]),
    ]
    assert [text for text in wrong if registry.tokens.authenticate(text, time.time()) is not None] == []
    assert registry.tokens.authenticate(text, time.time()) is not None


def test_it_expires(registry: LabRegistry) -> None:
    _, text = registry.tokens.create("deploy", Scope.READ, by=LAB, expires_at=NOW)
    assert registry.tokens.authenticate(text, NOW - 1) is not None
    assert registry.tokens.authenticate(text, NOW) is None


@pytest.mark.parametrize("by_name", [True, False])
def test_it_is_revoked_for_good(registry: LabRegistry, by_name: bool) -> None:
    token, text = registry.tokens.create("deploy", Scope.READ, by=LAB)
    revoked = registry.tokens.revoke(token.name if by_name else token.id, by=LAB)
    assert revoked.revoked_at is not None
    assert registry.tokens.authenticate(text, time.time()) is None
    assert registry.tokens.revoke(token.id, by=LAB).revoked_at == revoked.revoked_at
    assert [verb for verb, _, _ in entered(registry)] == ["token-create", "token-revoke"]
    with pytest.raises(NoSuchToken):
        registry.tokens.revoke("nobody", by=LAB)


def test_a_name_that_is_another_tokens_id_means_neither(registry: LabRegistry) -> None:
    token, text = registry.tokens.create("deploy", Scope.READ, by=LAB)
    other, other_text = registry.tokens.create(token.id, Scope.READ, by=LAB)
    with pytest.raises(AmbiguousHandle, match=f"is the name of token {other.id} and the id of token 'deploy'"):
        registry.tokens.revoke(token.id, by=LAB)
    assert registry.tokens.authenticate(text, time.time())
    assert registry.tokens.authenticate(other_text, time.time())
    assert registry.tokens.revoke("deploy", by=LAB).id == token.id
    assert registry.tokens.revoke(other.id, by=LAB).id == other.id


def test_the_hashes_are_those_of_the_valid_tokens(registry: LabRegistry) -> None:
    now = time.time()
    token, text = registry.tokens.create("deploy", Scope.READ, by=LAB)
    short, _ = registry.tokens.create("short", Scope.READ, by=LAB, expires_at=now + 1000)
    gone, _ = registry.tokens.create("gone", Scope.READ, by=LAB)
    registry.tokens.revoke("gone", by=LAB)
    known = registry.tokens.hashes(now)
    assert set(known) == {token.id, short.id}
    assert parse(text) == (token.id, known[token.id])
    assert set(registry.tokens.hashes(now + 1000)) == {token.id}, "as of the moment that it expires"
    assert gone.id not in known


def test_a_name_is_never_used_again(registry: LabRegistry) -> None:
    registry.tokens.create("deploy", Scope.READ, by=LAB)
    registry.tokens.revoke("deploy", by=LAB)
    with pytest.raises(TokenExists, match="'deploy'"):
        registry.tokens.create("deploy", Scope.READ, by=LAB)


@pytest.mark.parametrize(
    ("name", "expires_at", "rate", "field"),
    [
        ("", None, None, "name"),
        (" a", None, None, "name"),
        ("a\x1b[31m", None, None, "name"),
        ("a" * 101, None, None, "name"),
        ("a", 1.0, None, "expires_at"),
        ("a", float("inf"), None, "expires_at"),
        ("a", None, 0.0, "rate"),
        ("a", None, float("nan"), "rate"),
        ("a", None, float("inf"), "rate"),
    ],
)
def test_a_mistake_names_the_field_and_makes_nothing(
    registry: LabRegistry, name: str, expires_at: float | None, rate: float | None, field: str
) -> None:
    with pytest.raises(InvalidValue, match=rf"^{field}"):
        registry.tokens.create(name, Scope.READ, by=LAB, expires_at=expires_at, rate=rate)
    assert registry.tokens.every() == []
    assert entered(registry) == []


def test_its_use_is_noted_once_a_minute(registry: LabRegistry) -> None:
    _, text = registry.tokens.create("deploy", Scope.READ, by=LAB)

    def used(now: float) -> float | None:
        assert registry.tokens.authenticate(text, now)
        return registry.tokens.every()[0].last_used_at

    assert used(NOW) == NOW
    assert used(NOW + USE_NOTED - 1) == NOW
    assert used(NOW + USE_NOTED) == NOW + USE_NOTED
    assert used(NOW - 1000) == NOW - 1000, "a clock that was set back"


def test_nobody_waits_for_that_note(registry: LabRegistry) -> None:
    _, text = registry.tokens.create("deploy", Scope.READ, by=LAB)
    with contextlib.closing(sqlite3.connect(registry.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert registry.tokens.authenticate(text, NOW) is not None
        other.execute("ROLLBACK")
    assert registry.tokens.every()[0].last_used_at is None


def test_a_reader_lets_in_as_well_and_notes_nothing(registry: LabRegistry) -> None:
    _, text = registry.tokens.create("deploy", Scope.READ, by=LAB)
    with contextlib.closing(LabRegistry(registry.path, create=False, read_only=True)) as reader:
        assert reader.tokens.authenticate(text, NOW) is not None
    assert registry.tokens.every()[0].last_used_at is None
