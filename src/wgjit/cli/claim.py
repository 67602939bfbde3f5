"""`wgjit claim`: show when and where a peer was last proven, and reset that claim.

A peer's claim holds the greatest timestamp that the peer has proven. The gateway refuses an older handshake of the peer
as `stale`. So it also refuses a client whose clock was set back, until the claim is reset. A gateway follows a reset
within a second.
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

app = typer.Typer(
    name="claim", help="Show or reset a peer's claim: when and where it was last proven.", no_args_is_help=True
)


@app.command()
@on_registry
def show(
    handle: Handle,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Show a peer's claim: the timestamp it last proved, at which gateway, and from which endpoint.

    A removed peer keeps its claim. Its HANDLE is its whole public key.
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
    """Forget a peer's claim, so that its client may connect although the client's clock was set back.

    Until the client has connected again, an attacker can replay a recorded handshake of it. The gateway then installs
    the peer, but the attacker gets no session.

    For a removed peer, HANDLE is its whole public key. The command then also forgets the removal: if that peer is on
    the interface, the gateway leaves it alone.
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
    """A claim as one line for people."""
    if claim is None:
        return "never"
    return f"{_timestamp(claim)} at gateway {checks.printable(claim.gateway)}, from {claim.endpoint}"
