"""`wgjit peer remove`: one, several, or all that fit a filter."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wgjit.cli.peer_list import ExpiresBefore, InState, WithLabel, WithName, filter_of
from wgjit.cli.registry_file import ConfigFile, Handles, Interface, Json, Store, existing, site
from wgjit.errors import ConfigError


def remove(
    handles: Handles = None,
    label: WithLabel = None,
    in_state: InState = None,
    name_prefix: WithName = None,
    expires_before: ExpiresBefore = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    store: Store = None,
    interface: Interface = "wg0",
    config: ConfigFile = None,
) -> None:
    """Take peers out of the registry, with their claims and labels. Asks first if they are several.

    Several HANDLEs go together or, if one of them is unknown, not at all. Their addresses go back to the pool after its
    quarantine.
    """
    here = site(interface, config, store)
    wanted = filter_of(label, in_state, name_prefix, expires_before)
    if bool(handles) == (not wanted.is_empty):
        raise ConfigError("what to remove: give HANDLEs, or a filter such as --label team=infra, and not both")
    with existing(here.store) as registry:
        keys = list(dict.fromkeys(registry.resolve(handle) for handle in handles or []))
        count = len(keys) if handles else registry.count_fitting(wanted)
        if (count > 1 or not handles) and count and not yes:
            typer.confirm(f"remove {count:,} peer{'s' if count > 1 else ''}?", abort=True, err=True)
        registry.know(here.pools)
        count = registry.remove_all(keys) if handles else registry.remove_fitting(wanted)
    if as_json:
        print(json.dumps({"removed": count}))
    elif handles:
        for handle in handles:
            print(f"removed {handle}")
    else:
        print(f"removed {count:,} peer{'' if count == 1 else 's'}")
