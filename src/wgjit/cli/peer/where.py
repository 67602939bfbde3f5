"""`wgjit peer where`: which gateway serves a peer."""

from __future__ import annotations

import json

from wgjit.cli.shared.registry import Handle, Json, existing, on_registry
from wgjit.management.site import Site
from wgjit.model import Claim, Holding
from wgjit.stores import checks
from wgjit.stores.entries import GatewayEntry
from wgjit.stores.peer_json import claim_fields, holding_fields
from wgjit.times import show_moment


@on_registry
def where(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Tell which gateway serves a peer, since when, from which endpoint, and which gateway served it before.

    Gateways tell this by a registry in PostgreSQL. A registry in a file knows only where the peer was last proven.
    """
    with existing(here, read_only=True) as registry:
        found = registry.peers.registration(handle)
        gateways = {gateway.name: gateway for gateway in registry.gateways.every()} if found.holding else {}
    peer, holding = found.peer, found.holding
    if as_json:
        lives = None if holding is None else holding.gateway in gateways and gateways[holding.gateway].lives
        about = {"public_key": str(peer.public_key), "holding": holding_fields(holding), "holder_lives": lives}
        print(json.dumps(about | {"claim": claim_fields(found.claim)}))
        return
    fields = {"peer": checks.label(peer)}
    if holding is None:
        fields["held by"] = "no gateway" + _proven(found.claim)
    else:
        fields |= _held(holding, gateways.get(holding.gateway))
    for label, value in fields.items():
        print(f"{label + ':':<13}{value}")


def _held(holding: Holding, gateway: GatewayEntry | None) -> dict[str, str]:
    name = checks.printable(holding.gateway)
    if holding.until is not None:
        fields = {"held by": f"no gateway; {name} held it until {show_moment(holding.until)}"}
    else:
        seen = "is not known any more" if gateway is None else f"was last seen at {show_moment(gateway.seen_at)}"
        alive = gateway is not None and gateway.lives
        fields = {"held by": name if alive else f"{name}, which {seen}"}
    return fields | {
        "since": str(show_moment(holding.since)),
        "endpoint": str(holding.endpoint),
        "before": checks.printable(holding.before) if holding.before else "-",
    }


def _proven(claim: Claim | None) -> str:
    return (
        "" if claim is None else f"; last proven at {checks.printable(claim.gateway)}, {show_moment(claim.proven_at)}"
    )


def summary(holding: Holding | None) -> str:
    """Who holds a peer, as one line for people."""
    if holding is None:
        return "no gateway of a fleet"
    name = checks.printable(holding.gateway)
    if holding.until is not None:
        return f"no gateway; {name} until {show_moment(holding.until)}"
    return f"{name} since {show_moment(holding.since)}, from {holding.endpoint}"
