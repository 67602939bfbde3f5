"""`wgjit peer list`, `find` and `show`: show peers and change nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from wgjit.cli.claim import summary
from wgjit.cli.peer import where
from wgjit.cli.peer.describe import Withheld, row, show_labels, show_name
from wgjit.cli.peer.values import show_idle_time
from wgjit.cli.shared.options import bundle
from wgjit.cli.shared.registry import Handle, Json, existing, on_registry
from wgjit.management.site import Site
from wgjit.model import Standing
from wgjit.stores.entries import Entry, Filter
from wgjit.stores.label_rules import parse_labels
from wgjit.stores.peer_json import claim_fields, holding_fields, to_fields
from wgjit.times import parse_expiry, show_moment
from wgjit.wire.key_text import quoted

WithLabel = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="Only peers with this label. Given several times: with all."),
]
InState = Annotated[Standing | None, typer.Option("--state", help="Only peers in this state.")]
WithName = Annotated[
    str | None,
    typer.Option("--name-prefix", metavar="TEXT", help="Only peers whose name begins with TEXT; case matters."),
]
ExpiresBefore = Annotated[
    str | None,
    typer.Option("--expires-before", metavar="TIME", help="Only peers that expire before 2027-01-31, or within +30d."),
]


def _filter(
    label: WithLabel = None,
    in_state: InState = None,
    name_prefix: WithName = None,
    expires_before: ExpiresBefore = None,
) -> Filter:
    moment = None if expires_before is None else parse_expiry(expires_before, time.time(), "expires-before")
    return Filter(parse_labels(label or []), in_state, name_prefix, moment)


filtering = bundle("wanted", _filter)
"""Gives a command the options of a filter, and the filter itself as `wanted`. Mistakes raise InvalidValue."""


@on_registry
@filtering
def list_(
    limit: Annotated[int | None, typer.Option(min=1, help="The number of peers on a page. By default all.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="The cursor at which the previous page ended.")
    ] = None,
    as_json: Json = False,
    *,
    wanted: Filter,
    here: Site,
) -> None:
    """List peers in the order of their keys; with --name-prefix by name, with --expires-before by expiry.

    With --limit, a line on standard error says how to get the next page.
    """
    last: Entry | None = None
    withheld = Withheld()
    with existing(here, read_only=True) as registry:
        now = time.time()
        for number, entry in enumerate(registry.peers.entries(wanted, after, page=min(limit or 1000, 1000))):
            if number == limit:
                assert last is not None
                print(f"next page: --after '{wanted.cursor(last.peer)}'", file=sys.stderr)
                break
            _print([entry], now, as_json, withheld)
            last = entry
    withheld.tell()


@on_registry
def find(
    text: Annotated[str, typer.Argument(help="The beginning of a name or key, an address or prefix, or a label.")],
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="Also find TEXT inside of names. This reads all names.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Show this many peers at most.")] = 20,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Find peers by a name, key, address or label. Exit status 1 if no peer is found."""
    with existing(here, read_only=True) as registry:
        entries = registry.peers.search(text, limit, anywhere=anywhere)
    withheld = Withheld()
    _print(entries, time.time(), as_json, withheld)
    withheld.tell()
    if len(entries) == limit:
        print(f"{limit} shown, there may be more; see --limit", file=sys.stderr)
    if not entries:
        print(f"no peer found by {quoted(text)}" + ("" if anywhere else "; try --anywhere"), file=sys.stderr)
        raise typer.Exit(1)


@on_registry
def show(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Show one peer and its last claim: when and where it was last proven."""
    with existing(here, read_only=True) as registry:
        found = registry.peers.registration(handle)
        entry = registry.peers.entry(found.peer.public_key)
    peer, claim = entry.peer, found.claim
    withheld = Withheld()
    withheld.seen(entry)
    if as_json:
        print(json.dumps(to_fields(entry) | {"claim": claim_fields(claim), "holding": holding_fields(found.holding)}))
        withheld.tell()
        return
    fields = {
        "name": show_name(entry),
        "public key": peer.public_key,
        "state": peer.standing(time.time()),
        "allowed IPs": ", ".join(map(str, peer.allowed_ips)) or "-",
        "preshared key": "set" if peer.preshared_key else "none",
        "keepalive": f"{peer.keepalive} s" if peer.keepalive else "off",
        "expires": show_moment(peer.expires_at) or "never",
        "idle timeout": show_idle_time(peer),
        "labels": show_labels(entry, ", ") or "-",
        "last proven": summary(claim),
        **({} if found.holding is None else {"held by": where.summary(found.holding)}),
    }
    for label, value in fields.items():
        print(f"{label + ':':<15}{value}")
    withheld.tell()


def _print(entries: Iterable[Entry], now: float, as_json: bool, withheld: Withheld) -> None:
    for entry in entries:
        withheld.seen(entry)
        print(json.dumps(to_fields(entry)) if as_json else row(entry, now))
