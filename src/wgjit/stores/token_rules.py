"""Tokens as texts and hashes, whatever keeps them. A registry holds only hashes, so nobody can read a token in it.

A token is `wgjit_ID_SECRET`: ID is public (8 characters of base32), SECRET is 32 random bytes in base64url. The hash is
one SHA-256. A slow hash protects passwords against guessing, but nobody guesses 256 random bits. Here a slow hash would
only make requests with made-up tokens expensive for the server.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from wgjit.errors import AmbiguousHandle, InvalidValue, NoSuchToken, TokenExists
from wgjit.model import refuse_key
from wgjit.stores.entries import Scope, Token
from wgjit.wire.key_text import quoted, shown

NAME_LENGTH = 100
"""Greatest length of a token's name, characters."""

VALID = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now})"
"""SQL for `Token.is_valid`, with the parameter for the moment."""

USE_NOTED = 60.0
"""Seconds between two notes of a token's last use. A write for each request would cost too much."""

COLUMNS = "id, name, scope, rate, created_at, expires_at, last_used_at, revoked_at"
"""The columns of a token, in the order of `of_row`."""

# The last character holds four bits of the secret. A decoder would ignore its other two bits.
_TEXT = re.compile(r"wgjit_([a-z2-7]{8})_([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])")


class Secret(NamedTuple):
    """The secret part of a new token."""

    hash: bytes
    text: str
    """As the token's text has it."""


def check(name: str, now: float, expires_at: float | None, rate: float | None) -> None:
    """Raise InvalidValue for a token that no registry accepts. Moments in Unix seconds."""
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


def new_id() -> str:
    """A random id."""
    return base64.b32encode(secrets.token_bytes(5)).decode().lower()


def new_secret() -> Secret:
    """A random secret."""
    secret = secrets.token_bytes(32)
    return Secret(hashlib.sha256(secret).digest(), base64.urlsafe_b64encode(secret).decode().rstrip("="))


def parse(text: str) -> tuple[str, bytes] | None:
    """Id and hash of a token's text; None if the text is no token."""
    match = _TEXT.fullmatch(text)
    return None if match is None else (match[1], hashlib.sha256(base64.urlsafe_b64decode(match[2] + "=")).digest())


def is_use_due(token: Token, now: float) -> bool:
    """Whether the token's use is to be noted. A clock that was set back counts as time that has passed."""
    return token.last_used_at is None or abs(now - token.last_used_at) >= USE_NOTED


def of_row(
    number: str,
    name: str,
    scope: str,
    rate: float | None,
    created_at: float,
    expires_at: float | None,
    last_used_at: float | None,
    revoked_at: float | None,
) -> Token:
    """The token of a row."""
    return Token(number, shown(name), Scope(scope), rate, created_at, expires_at, last_used_at, revoked_at)


def meant(handle: str, found: Sequence[Token]) -> Token:
    """The token that a handle means, of those with this name or id. Raises NoSuchToken, AmbiguousHandle."""
    if not found:
        raise no_such_token(handle)
    if len(found) > 1:
        named, other = sorted(found, key=lambda token: token.id == handle)
        raise AmbiguousHandle(
            f"handle {quoted(handle)}: is the name of token {named.id} and the id of token {quoted(other.name)}; write "
            "the id of the first, or the name of the second"
        )
    return found[0]


def taken(name: str) -> TokenExists:
    """The error for a name that a token has or had."""
    text = f"name {quoted(name)}: a token had it before, and the audit log knows it by that; choose another"
    return TokenExists(text, field="name")


def no_such_token(handle: str) -> NoSuchToken:
    """The error for a handle that no token has."""
    text = f"no token has the name or id {quoted(handle, NAME_LENGTH)}"
    return NoSuchToken(text, advice="`wgjit token list` shows all")
