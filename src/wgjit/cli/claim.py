"""`wgjit claim`: when and where a peer was last proven, and how to forget it.

A peer's claim holds the greatest timestamp that it has proven, so an older handshake of it is refused as `stale`. A
client whose clock was set back is refused, too, until its claim is reset. A gateway sees that within a second.
"""

from __future__ import annotations

import json

import typer

from wgjit.cli.registry_file import ConfigFile, Handle, Interface, Json, Store, author, existing
from wgjit.management.fields import claim_fields
from wgjit.management.site import site
from wgjit.management.times import show_moment
from wgjit.model import Claim
from wgjit.stores import checks

app = typer.Typer(name="claim", help="Show or forget when a peer was last proven.", no_args_is_help=True)


@app.command()
def show(
    handle: Handle,
    as_json: Json = False,
    store: Store = None,
    interface: Interface = "wg0",
    config: ConfigFile = None,
) -> None:
    """Show a peer's claim: the timestamp it last proved, at which gateway, from where."""
    with existing(site(interface, config, store).store, read_only=True) as registry:
        found = registry.registration(handle)
    if as_json:
        print(json.dumps({"public_key": str(found.peer.public_key), "claim": claim_fields(found.claim)}))
        return
    fields = {
        "peer": checks.label(found.peer),
        "timestamp": "-" if found.claim is None else found.claim.timestamp,
        "gateway": "-" if found.claim is None else checks.printable(found.claim.gateway),
        "endpoint": "-" if found.claim is None else found.claim.endpoint,
        "proven at": "never" if found.claim is None else show_moment(found.claim.proven_at),
    }
    for label, value in fields.items():
        print(f"{label + ':':<12}{value}")


@app.command()
def reset(
    handle: Handle,
    as_json: Json = False,
    store: Store = None,
    interface: Interface = "wg0",
    config: ConfigFile = None,
) -> None:
    """Forget a peer's claim, so that its client may connect though its clock was set back.

    Until it has connected again, somebody who recorded an old handshake of it could send that: the peer would be
    installed for it, without a session.
    """
    with existing(site(interface, config, store).store) as registry:
        found = registry.registration(handle)
        forgotten = registry.reset_claim(found.peer.public_key, by=author())
    if as_json:
        about = {
            "public_key": str(found.peer.public_key),
            "forgotten": forgotten is not None,
            "claim": claim_fields(forgotten),
        }
        print(json.dumps(about))
    elif forgotten is None:
        print(f"{checks.label(found.peer)} has no claim; nothing to forget")
    else:
        print(f"forgot the claim of {checks.label(found.peer)}: {summary(forgotten)}")


def summary(claim: Claim | None) -> str:
    """A claim on one line, for people."""
    if claim is None:
        return "never"
    return f"{claim.timestamp} at gateway {checks.printable(claim.gateway)}, from {claim.endpoint}"
