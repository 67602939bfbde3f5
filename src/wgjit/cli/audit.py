"""`wgjit audit`: who changed what, over the command line or the HTTP API."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer

from wgjit.cli.shared.groups import ListByDefault
from wgjit.cli.shared.registry import Json, author, existing, on_registry
from wgjit.management.records import audit_fields, audited_key
from wgjit.management.site import Site
from wgjit.stores.checks import printable
from wgjit.stores.entries import AuditEntry, AuditFilter, Verb
from wgjit.times import parse_past, show_moment

app = typer.Typer(name="audit", help="Show who changed what.", cls=ListByDefault)


@app.command("list")
@on_registry
def list_(
    peer: Annotated[
        str | None,
        typer.Option(metavar="HANDLE", help="Only entries about this peer. For a removed peer, give its whole key."),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only entries of this actor, written exactly as the list shows it."),
    ] = None,
    verb: Annotated[Verb | None, typer.Option(help="Only entries with this verb.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only entries not older than 7d or 12h, or since 2027-01-31.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The number of entries on a page.")] = 50,
    after: Annotated[int | None, typer.Option(metavar="ID", help="The ID at which the previous page ended.")] = None,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """List the entries of the audit log, newest first. A line on standard error says how to get the next page.

    An import makes one entry for each batch, not one for each peer.
    """
    with existing(here, read_only=True) as registry:
        moment = None if since is None else parse_past(since, time.time(), "since")
        key = None if peer is None else audited_key(registry, peer)
        page = registry.audit.page(AuditFilter(key, actor, verb, moment), limit, after)
    for entry in page.entries:
        print(json.dumps(audit_fields(entry)) if as_json else _row(entry))
    if page.cursor is not None:
        print(f"next page: --after {page.cursor}", file=sys.stderr)


@app.command()
@on_registry
def prune(
    before: Annotated[
        str, typer.Option(metavar="TIME", help="Delete entries older than 365d, or from before 2027-01-31.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Delete old entries of the audit log. A new entry records how many were deleted."""
    moment = parse_past(before, time.time(), "before")
    with existing(here) as registry:
        if not yes:
            typer.confirm(f"delete all entries from before {show_moment(moment)}?", abort=True, err=True)
        count = registry.audit.prune(moment, by=author())
    print(json.dumps({"removed": count}) if as_json else f"deleted {count:,} entr{'y' if count == 1 else 'ies'}")


def _row(entry: AuditEntry) -> str:
    columns = [str(entry.id), str(show_moment(entry.at)), printable(entry.actor), printable(entry.verb)]
    if entry.name is not None:
        columns.append(printable(entry.name))
    if entry.public_key is not None:
        columns.append(str(entry.public_key))
    columns += [f"{printable(name)}: {_change(value)}" for name, value in entry.details.items()]
    return "  ".join(columns)


def _change(value: Any) -> str:
    """A changed value as JSON, since `json.dumps` escapes the control characters that a terminal would obey."""
    if isinstance(value, list) and len(value) == 2:
        return f"{json.dumps(value[0])} -> {json.dumps(value[1])}"
    return json.dumps(value)
