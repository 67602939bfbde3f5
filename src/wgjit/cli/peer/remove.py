"""`wgjit peer remove`: remove one peer, several peers, or all peers that match a filter."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wgjit.cli.peer.listing import filtering
from wgjit.cli.shared.registry import Handles, Json, author, existing, on_registry
from wgjit.errors import ConfigError
from wgjit.management.site import Site
from wgjit.model import PublicKey
from wgjit.stores import checks
from wgjit.stores.base import Registry
from wgjit.stores.entries import Filter
from wgjit.wire.key_text import shown


@on_registry
@filtering
def remove(
    handles: Handles = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    as_json: Json = False,
    *,
    wanted: Filter,
    here: Site,
) -> None:
    """Remove peers from the registry, with their labels. Their claims stay.

    The command asks first if there are several peers, or if a HANDLE is only an address or the beginning of a key. If
    one of several HANDLEs is unknown, no peer is removed. A removed peer's addresses return to the pool after its
    quarantine.
    """
    if bool(handles) == (not wanted.is_empty):
        raise ConfigError("what to remove: give HANDLEs, or a filter such as --label team=infra, and not both")
    with existing(here) as registry:
        keys = list(dict.fromkeys(registry.peers.resolve(handle) for handle in handles or []))
        count = len(keys) if handles else registry.peers.count(wanted)
        if not yes and (question := _question(registry, handles or [], keys, count)):
            typer.confirm(question, abort=True, err=True)
        count = (
            registry.peers.remove_all(keys, by=author())
            if handles
            else registry.peers.remove_fitting(wanted, by=author())
        )
    if as_json:
        print(json.dumps({"removed": count}))
    elif handles:
        for handle in handles:
            print(f"removed {handle if checks.parse_key(handle) else shown(handle)}")
    else:
        print(f"removed {count:,} peer{'' if count == 1 else 's'}")


def _question(registry: Registry, handles: list[str], keys: list[PublicKey], count: int) -> str | None:
    """The question before peers are removed. None if the handle is exact, or if no peer matches."""
    if count != 1 or not handles:
        return f"remove {count:,} peer{'' if count == 1 else 's'}?" if count else None
    exact = all(checks.parse_key(handle) or registry.peers.names(handle, 1) == [handle] for handle in handles)
    return None if exact else f"remove {checks.label(registry.peers.entry(keys[0]).peer)}?"
