"""`wgjit claim`: when and where a peer was last proven, and how to forget it.

A peer's claim holds the greatest timestamp that it has proven, so an older handshake of it is refused as `stale`. A
client whose clock was set back is refused, too, until its claim is reset. A gateway sees that within a second.
"""

from __future__ import annotations

import json

import typer

from wgjit.cli.shared.registry import Handle, Json, author, existing, on_registry
from wgjit.management.site import Site
from wgjit.model import NEVER_PROVEN, Claim, PublicKey, Registration, Removed
from wgjit.stores import checks
from wgjit.stores.peer_json import claim_fields
from wgjit.times import show_moment

app = typer.Typer(name="claim", help="Show or forget when a peer was last proven.", no_args_is_help=True)


@app.command()
@on_registry
def show(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Show a peer's claim: the timestamp it last proved, at which gateway, from where.

    A peer that was removed keeps its claim; its HANDLE is its whole public key.
    """
    with existing(here, read_only=True) as registry:
        holder = registry.claims.holder(handle)
    if as_json:
        print(json.dumps({"public_key": str(_key(holder)), "claim": claim_fields(holder.claim)}))
        return
    claim = holder.claim
    fields = {
        "peer": _label(holder),
        "timestamp": "-" if claim is None else _timestamp(claim),
        "gateway": "-" if claim is None else checks.printable(claim.gateway),
        "endpoint": "-" if claim is None else claim.endpoint,
        "proven at": "never" if claim is None or claim.proven == NEVER_PROVEN else show_moment(claim.proven_at),
    }
    for label, value in fields.items():
        print(f"{label + ':':<12}{value}")


@app.command()
@on_registry
def reset(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Forget a peer's claim, so that its client may connect though its clock was set back.

    Until it has connected again, somebody who has just recorded a handshake of it could send that: the peer would be
    installed for it, without a session. Of a peer that was removed, whose HANDLE is its whole public key, it also
    forgets that it was: a gateway then leaves it alone if it is on the interface.
    """
    with existing(here) as registry:
        found = registry.claims.holder(handle)
        forgotten = registry.claims.reset(_key(found), by=author())
    if as_json:
        about = {
            "public_key": str(_key(found)),
            "forgotten": forgotten is not None,
            "claim": claim_fields(forgotten),
        }
        print(json.dumps(about))
    elif forgotten is None:
        none = (
            "has no claim; nothing to forget" if isinstance(found, Registration) else "has no claim; forgot its removal"
        )
        print(f"{_label(found)} {none}")
    else:
        print(f"forgot the claim of {_label(found)}: {summary(forgotten)}")


def _key(holder: Registration | Removed) -> PublicKey:
    return holder.peer.public_key if isinstance(holder, Registration) else holder.public_key


def _label(holder: Registration | Removed) -> str:
    return checks.label(holder.peer) if isinstance(holder, Registration) else f"{holder.public_key} (removed)"


def _timestamp(claim: Claim) -> str:
    if claim.proven is None:
        return str(claim.timestamp)
    proven = "nothing" if claim.proven == NEVER_PROVEN else str(claim.proven)
    return f"{claim.timestamp} (inferred from its last handshake; {proven} was proven)"


def summary(claim: Claim | None) -> str:
    """A claim on one line, for people."""
    if claim is None:
        return "never"
    return f"{_timestamp(claim)} at gateway {checks.printable(claim.gateway)}, from {claim.endpoint}"
