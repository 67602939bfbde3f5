"""Tokens: what is let in, and what is not."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters, digits

import pytest

from tests.unit.stores.authored import TESTER, entered
from wgjit.errors import InvalidValue, NoSuchToken, TokenExists
from wgjit.stores.managed import ManagedRegistry
from wgjit.stores.tokens import USE_NOTED, Scope

NOW = 2_000_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ManagedRegistry]:
    with contextlib.closing(ManagedRegistry(tmp_path / "peers.db")) as registry:
        yield registry


@pytest.mark.parametrize("scope", list(Scope))
def test_a_token_is_let_in_with_its_scope(registry: ManagedRegistry, scope: Scope) -> None:
    token, text = registry.create_token("deploy", scope, by=TESTER, rate=5.0)
    assert text.startswith(f"wgjit_{token.id}_")
    found = registry.authenticate(text, time.time())
    assert found is not None
    assert (found.id, found.name, found.scope, found.rate) == (token.id, "deploy", scope, 5.0)


def test_what_is_not_exactly_a_tokens_text_is_not_let_in(registry: ManagedRegistry) -> None:
    token, text = registry.create_token("deploy", Scope.ADMIN, by=TESTER)
    _, other = registry.create_token("other", Scope.ADMIN, by=TESTER)
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
    assert [text for text in wrong if registry.authenticate(text, time.time()) is not None] == []
    assert registry.authenticate(text, time.time()) is not None


def test_it_expires(registry: ManagedRegistry) -> None:
    _, text = registry.create_token("deploy", Scope.READ, by=TESTER, expires_at=NOW)
    assert registry.authenticate(text, NOW - 1) is not None
    assert registry.authenticate(text, NOW) is None


@pytest.mark.parametrize("by_name", [True, False])
def test_it_is_revoked_for_good(registry: ManagedRegistry, by_name: bool) -> None:
    token, text = registry.create_token("deploy", Scope.READ, by=TESTER)
    revoked = registry.revoke_token(token.name if by_name else token.id, by=TESTER)
    assert revoked.revoked_at is not None
    assert registry.authenticate(text, time.time()) is None
    assert registry.revoke_token(token.id, by=TESTER).revoked_at == revoked.revoked_at
    assert [verb for verb, _, _ in entered(registry)] == ["token-create", "token-revoke"]
    with pytest.raises(NoSuchToken):
        registry.revoke_token("nobody", by=TESTER)


def test_a_name_is_never_used_again(registry: ManagedRegistry) -> None:
    registry.create_token("deploy", Scope.READ, by=TESTER)
    registry.revoke_token("deploy", by=TESTER)
    with pytest.raises(TokenExists, match="'deploy'"):
        registry.create_token("deploy", Scope.READ, by=TESTER)


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
    registry: ManagedRegistry, name: str, expires_at: float | None, rate: float | None, field: str
) -> None:
    with pytest.raises(InvalidValue, match=rf"^{field}"):
        registry.create_token(name, Scope.READ, by=TESTER, expires_at=expires_at, rate=rate)
    assert registry.tokens() == []
    assert entered(registry) == []


def test_its_use_is_noted_once_a_minute(registry: ManagedRegistry) -> None:
    _, text = registry.create_token("deploy", Scope.READ, by=TESTER)

    def used(now: float) -> float | None:
        assert registry.authenticate(text, now)
        return registry.tokens()[0].last_used_at

    assert used(NOW) == NOW
    assert used(NOW + USE_NOTED - 1) == NOW
    assert used(NOW + USE_NOTED) == NOW + USE_NOTED
    assert used(NOW - 1000) == NOW - 1000, "a clock that was set back"


def test_nobody_waits_for_that_note(registry: ManagedRegistry) -> None:
    _, text = registry.create_token("deploy", Scope.READ, by=TESTER)
    with contextlib.closing(sqlite3.connect(registry.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert registry.authenticate(text, NOW) is not None
        other.execute("ROLLBACK")
    assert registry.tokens()[0].last_used_at is None


def test_a_reader_lets_in_as_well_and_notes_nothing(registry: ManagedRegistry) -> None:
    _, text = registry.create_token("deploy", Scope.READ, by=TESTER)
    with contextlib.closing(ManagedRegistry(registry.path, create=False, read_only=True)) as reader:
        assert reader.authenticate(text, NOW) is not None
    assert registry.tokens()[0].last_used_at is None
