"""`wgjit token`: the tokens that programs send to the HTTP API. A token is shown once; the registry keeps its hash."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from wgjit.cli.shared.registry import Json, author, existing, made, on_registry
from wgjit.management.records import token_fields, token_state
from wgjit.management.site import Site
from wgjit.stores.checks import printable
from wgjit.stores.entries import Scope, Token
from wgjit.times import parse_lifetime, show_moment

app = typer.Typer(name="token", help="Make, list and revoke tokens of the HTTP API.", no_args_is_help=True)


@app.command()
@on_registry
def create(
    name: Annotated[str, typer.Argument(help="A name that the audit log shows. No other token ever gets it.")],
    scope: Annotated[
        Scope,
        typer.Option(
            help="read: see peers; write: also change them; admin: everything; "
            "gateway: read, with preshared keys and all changes."
        ),
    ],
    expires: Annotated[
        str, typer.Option(metavar="DURATION", help="How long the token is valid: 90d, 12h, or never.")
    ] = "never",
    rate: Annotated[
        float | None, typer.Option(metavar="N", help="Requests per second at most. By default the configuration's.")
    ] = None,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Make a token and print it. It is printed only this once, because it is stored nowhere."""
    now = time.time()
    expires_at = parse_lifetime(expires, now)
    with made(here) as registry:
        token, text = registry.tokens.create(name, scope, by=author(), expires_at=expires_at, rate=rate)
    print(json.dumps(token_fields(token, now) | {"token": text}) if as_json else text)


@app.command("list")
@on_registry
def list_(
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """List the tokens. Their secret part is not shown."""
    with existing(here, read_only=True) as registry:
        tokens = registry.tokens.every()
    now = time.time()
    for token in tokens:
        print(json.dumps(token_fields(token, now)) if as_json else _row(token, now))


@app.command()
@on_registry
def revoke(
    token: Annotated[str, typer.Argument(metavar="NAME|ID", help="Its name or ID, as `wgjit token list` shows it.")],
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Revoke a token at once and for good. Its name stays taken, so that the audit log stays clear."""
    with existing(here) as registry:
        revoked = registry.tokens.revoke(token, by=author())
    if as_json:
        print(json.dumps(token_fields(revoked, time.time())))
    else:
        print(f"revoked {printable(revoked.name)} ({revoked.id})")


def _row(token: Token, now: float) -> str:
    columns = [
        token.id,
        f"{token_state(token, now):<7}",
        f"{token.scope:<7}",
        printable(token.name),
        f"expires {show_moment(token.expires_at) or 'never'}",
        f"used {show_moment(token.last_used_at) or 'never'}",
    ]
    if token.rate is not None:
        columns.append(f"{token.rate:g}/s")
    return "  ".join(columns)
