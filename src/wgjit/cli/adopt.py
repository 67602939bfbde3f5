"""`wgjit adopt`: register the peers of an interface, so that a gateway can install them just in time."""

from __future__ import annotations

import json
import time
from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from wgjit.adoption import adopt as adopt_peers
from wgjit.adoption import idle_residents, peers_of
from wgjit.cli.shared.registry import author, made, on_registry
from wgjit.drivers.wireguard.open import open_device
from wgjit.management.own import Own
from wgjit.management.site import Site

SHOWN = 20
"""A message to people names this many peers at most. --json names all of them."""


@on_registry
def adopt(
    interface: Annotated[str, typer.Argument(help="The WireGuard interface whose peers are registered.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    *,
    here: Site,
) -> None:
    """Register the peers of INTERFACE, so that a gateway may remove them while they are idle. Sessions continue.

    A peer with a persistent keepalive on this side is pinned (it never leaves), because this side may have to start
    its sessions.
    """
    with closing(open_device(interface)) as device:
        residents = peers_of(device)
        private_key = device.info().private_key
    own = here.own if private_key is None else here.own | Own(frozenset([private_key.public()]))
    with made(here) as registry:
        register = partial(registry.peers.adopt, by=author())
        result = adopt_peers(residents, registry, register, dry_run=dry_run, check=own.check)
    adopted = {peer.public_key for peer in result.new}
    ours = [resident for resident in residents if resident.public_key in adopted]
    pinned = {peer.public_key for peer in result.new if peer.is_pinned}
    may_leave = [resident for resident in ours if resident.public_key not in pinned]
    idle = idle_residents(may_leave, here.config.gateway, time.time())
    if as_json:
        print(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "store": str(here.where),
                    "peers": len(residents),
                    "registered": len(result.new),
                    "pinned": len(pinned),
                    "idle": idle,
                    "present": result.present,
                    "differing": [str(key) for key in result.differing],
                    "refused": {str(key): why for key, why in result.refused},
                }
            )
        )
        return
    would = "would be " if dry_run else ""
    print(f"{interface}: {len(residents)} peers; registry {here.where}")
    print(f"{would}registered: {len(result.new)}, of them {len(pinned)} pinned, {idle} idle and free to leave")
    print(f"registered already: {result.present}")
    if result.differing:
        print(f"registered already with other values, which a gateway will give them: {len(result.differing)}")
        _name([str(key) for key in result.differing])
    if result.refused:
        print(f"not registered; they stay on the interface: {len(result.refused)}")
        _name([f"{key}: {why}" for key, why in result.refused])
    if not dry_run:
        print(f"next: wgjit up {interface} (one that runs already takes notice within some minutes)")


def _name(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN} more; --json names all")
