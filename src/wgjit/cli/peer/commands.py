"""The command group `wgjit peer`: register, show, change, disable and remove peers.

These commands work on the registry file alone, with or without a running gateway. A gateway follows their changes
within a second. A HANDLE is a peer's name, its public key, the beginning of that key, or one of its addresses. A
preshared key is read from a file and never shown. A private key that wgjit makes for a client is shown once and never
stored.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from wgjit.cli.peer.add import add, rotate
from wgjit.cli.peer.bring import import_
from wgjit.cli.peer.export import export
from wgjit.cli.peer.listing import find, list_, show
from wgjit.cli.peer.remove import remove
from wgjit.cli.peer.values import Given, describing
from wgjit.cli.peer.where import where
from wgjit.cli.shared.registry import Handle, Json, author, existing, on_registry
from wgjit.errors import ConfigError
from wgjit.management.site import Site
from wgjit.stores import checks
from wgjit.stores.label_rules import check_key
from wgjit.stores.peer_json import to_fields
from wgjit.wire.key_text import quoted

app = typer.Typer(name="peer", help="Register, show, change, disable and remove peers.", no_args_is_help=True)

app.command("add")(add)
app.command("list")(list_)
app.command("find")(find)
app.command("show")(show)
app.command("where")(where)


@app.command("set")
@on_registry
@describing
def set_(
    handle: Handle,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="A new name, unique.")] = None,
    no_preshared_key: Annotated[bool, typer.Option("--no-preshared-key", help="Remove its preshared key.")] = False,
    unlabel: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove this label.")] = None,
    as_json: Json = False,
    *,
    given: Given,
    here: Site,
) -> None:
    """Change a peer. Only the given values change."""
    if no_preshared_key and given.preshared_key_file is not None:
        raise ConfigError("--preshared-key-file and --no-preshared-key: give one of the two")
    values = ({} if name is None else {"name": name}) | given.all_values()
    if no_preshared_key:
        values["preshared_key"] = None
    taken = unlabel or []
    for key in taken:
        check_key(key)
    if both := given.labels.keys() & taken:
        raise ConfigError(f"--label and --unlabel: {min(both)} is in both; give one of the two")
    told = [*values, *(["labels"] if given.labels or taken else [])]
    if not told:
        raise ConfigError(f"nothing to change for {quoted(handle)}: give an option, such as --keepalive 25")
    here.own.check_prefixes(values.get("allowed_ips", ()))
    with existing(here) as registry:
        entry = registry.peers.amend(
            registry.peers.resolve(handle),
            lambda peer: dataclasses.replace(peer, **values),
            given.labels,
            taken,
            by=author(),
        )
    if as_json:
        print(json.dumps(to_fields(entry)))
    else:
        print(f"changed {checks.label(entry.peer)}: {', '.join(told).replace('_', ' ')}")


@app.command()
@on_registry
def enable(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Let a disabled peer connect again."""
    _switch(here, handle, enabled=True, as_json=as_json)


@app.command()
@on_registry
def disable(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Keep a peer registered, but do not let it connect any more."""
    _switch(here, handle, enabled=False, as_json=as_json)


app.command("rotate")(rotate)
app.command("remove")(remove)
app.command("import")(import_)
app.command("export")(export)


def _switch(here: Site, handle: str, *, enabled: bool, as_json: bool) -> None:
    with existing(here) as registry:
        entry = registry.peers.amend(
            registry.peers.resolve(handle), lambda peer: dataclasses.replace(peer, enabled=enabled), {}, by=author()
        )
    if as_json:
        print(json.dumps(to_fields(entry)))
    else:
        print(f"{'enabled' if enabled else 'disabled'} {checks.label(entry.peer)}")
