"""`wgjit release`: the way back from a gateway; installs all registered peers on the interface for good."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from typing import Annotated

import typer

from wgjit.adoption import release as release_peers
from wgjit.cli.shared.registry import existing, on_registry
from wgjit.daemon.process.lock import interface_lock
from wgjit.drivers.wireguard.open import open_device
from wgjit.management.site import Site


@on_registry
def release(
    interface: Annotated[str, typer.Argument(help="The WireGuard interface on which all peers are installed.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    *,
    here: Site,
) -> None:
    """Install all registered peers that may connect, so that INTERFACE needs no gateway. Sessions continue.

    End the gateway first, because it would remove idle peers again.
    """
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(interface_lock(interface))
        device = stack.enter_context(closing(open_device(interface)))
        registry = stack.enter_context(existing(here, read_only=True))
        result = release_peers(registry.peers, device, time.time(), dry_run=dry_run)
    if as_json:
        print(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "installed": result.installed,
                    "present": result.present,
                    "barred": result.barred,
                    "refused": [str(key) for key in result.refused],
                }
            )
        )
        return
    would = "would be " if dry_run else ""
    print(f"{would}installed: {result.installed}; there already: {result.present}")
    if result.barred:
        print(f"not installed, since disabled or expired: {result.barred}")
    if result.refused:
        print(
            f"not installed, since an address of theirs belongs to a peer that is not registered: {len(result.refused)}"
        )
        for key in result.refused[:20]:
            print(f"  {key}")
