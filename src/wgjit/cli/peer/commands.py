"""`wgjit peer`: hand tunnels out, look at peers, change them, switch them off, remove them.

These commands work on the registry file alone, with or without a running gateway; a gateway sees their changes within
a second. A HANDLE is a peer's name, its public key or the beginning of it, or an address of it. A preshared key is read
from a file and never shown; a private key that is made for a client is shown once and never stored.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wgjit.cli.peer.add import add, rotate
from wgjit.cli.peer.bring import import_
from wgjit.cli.peer.export import export
from wgjit.cli.peer.listing import find, list_, show
from wgjit.cli.peer.remove import remove
from wgjit.cli.peer.values import (
    ALLOWED_IPS,
    EXPIRES,
    EXPIRY,
    IDLE,
    KEEPALIVE,
    LABEL,
    expiry,
    parse_prefixes,
    read_preshared_key,
)
from wgjit.cli.registry_file import ConfigFile, Handle, Interface, Json, Store, author, existing
from wgjit.errors import ConfigError
from wgjit.management.site import Site, site
from wgjit.stores import checks
from wgjit.stores.label_rules import check_key, parse_labels
from wgjit.stores.peer_json import to_fields
from wgjit.times import parse_idle_timeout
from wgjit.wire.key_text import quoted

app = typer.Typer(
    name="peer", help="Hand tunnels out; show, change, switch off and remove peers.", no_args_is_help=True
)

app.command("add")(add)
app.command("list")(list_)
app.command("find")(find)
app.command("show")(show)


@app.command("set")
def set_(
    handle: Handle,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Another name; unique.")] = None,
    allowed_ips: Annotated[
        list[str] | None, typer.Option(metavar="PREFIXES", help=ALLOWED_IPS + " All of them.")
    ] = None,
    preshared_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file with its preshared key; - is standard input.")
    ] = None,
    no_preshared_key: Annotated[bool, typer.Option("--no-preshared-key", help="Take its preshared key away.")] = False,
    keepalive: Annotated[int | None, typer.Option(metavar="SECONDS", help=KEEPALIVE)] = None,
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help=EXPIRES)] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help=EXPIRY)] = None,
    idle_timeout: Annotated[str | None, typer.Option(metavar="DURATION", help=IDLE)] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help=LABEL)] = None,
    unlabel: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Take this label away.")] = None,
    as_json: Json = False,
    store: Store = None,
    interface: Interface = "wg0",
    config: ConfigFile = None,
) -> None:
    """Change a peer: what is given, and nothing else."""
    if preshared_key_file is not None and no_preshared_key:
        raise ConfigError("--preshared-key-file and --no-preshared-key: give one of the two")
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = name
    if allowed_ips:
        values["allowed_ips"] = parse_prefixes(allowed_ips)
    if preshared_key_file is not None or no_preshared_key:
        values["preshared_key"] = None if preshared_key_file is None else read_preshared_key(preshared_key_file)
    if keepalive is not None:
        values["keepalive"] = keepalive
    if expires is not None or expires_at is not None:
        values["expires_at"] = expiry(expires, expires_at, time.time())
    if idle_timeout is not None:
        values["idle_timeout"] = parse_idle_timeout(idle_timeout)
    given, taken = parse_labels(label or []), unlabel or []
    for key in taken:
        check_key(key)
    if both := given.keys() & taken:
        raise ConfigError(f"--label and --unlabel: {min(both)} is in both; give one of the two")
    told = [*values, *(["labels"] if given or taken else [])]
    if not told:
        raise ConfigError(f"nothing to change for {quoted(handle)}: give an option, such as --keepalive 25")
    here = site(interface, config, store)
    with existing(here) as registry:
        entry = registry.peers.amend(
            registry.peers.resolve(handle), lambda peer: dataclasses.replace(peer, **values), given, taken, by=author()
        )
    if as_json:
        print(json.dumps(to_fields(entry)))
    else:
        print(f"changed {checks.label(entry.peer)}: {', '.join(told).replace('_', ' ')}")


@app.command()
def enable(
    handle: Handle,
    as_json: Json = False,
    store: Store = None,
    interface: Interface = "wg0",
    config: ConfigFile = None,
) -> None:
    """Let a peer connect again."""
    _switch(site(interface, config, store), handle, enabled=True, as_json=as_json)


@app.command()
def disable(
    handle: Handle,
    as_json: Json = False,
    store: Store = None,
    interface: Interface = "wg0",
    config: ConfigFile = None,
) -> None:
    """Keep a peer registered, but let it connect no more."""
    _switch(site(interface, config, store), handle, enabled=False, as_json=as_json)


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
