"""`wgjit gateways`: the gateways that share a registry."""

from __future__ import annotations

import json

import typer

from wgjit.cli.shared.groups import ListByDefault
from wgjit.cli.shared.registry import Json, author, existing, on_registry
from wgjit.management.records import gateway_fields
from wgjit.management.site import Site
from wgjit.stores.checks import printable
from wgjit.stores.entries import GatewayEntry
from wgjit.times import show_moment

app = typer.Typer(name="gateways", help="Show the gateways that share this registry.", cls=ListByDefault)

_HEAD = ("name", "state", "address", "interface", "version", "residents", "lag", "clock", "service", "last seen")


@app.command("list")
@on_registry
def list_(
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """List the gateways that share a registry in PostgreSQL, as their heartbeats tell, by name.

    `lag`: seconds by which the gateway's copy of the registry is behind. `clock`: seconds by which its clock is ahead
    of the database's. `service`: the addresses that it shares with others (takeover.addresses). A gateway counts as
    down once it was not seen for 10 seconds.
    """
    with existing(here, read_only=True) as registry:
        gateways = registry.gateways.every()
    if as_json:
        for gateway in gateways:
            print(json.dumps(gateway_fields(gateway)))
        return
    rows = [_HEAD, *map(_row, gateways)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows if gateways else ():
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if not gateways:
        print("no gateway shares this registry; gateways with a postgresql:// store.url do")
    if len({gateway.public_key for gateway in gateways if gateway.lives}) > 1:
        for gateway in gateways:
            print(f"{printable(gateway.name)} has the public key {gateway.public_key}")
        print("these gateways have different private keys: a client of one cannot move to another; give all the same")


@app.command()
@on_registry
def forget(
    name: str,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Forget a gateway that has ended for good. A gateway that runs is refused."""
    with existing(here) as registry:
        gateway = registry.gateways.forget(name, by=author())
    print(json.dumps(gateway_fields(gateway)) if as_json else f"forgot gateway {printable(gateway.name)}")


def _row(gateway: GatewayEntry) -> tuple[str, ...]:
    ahead = None if gateway.clock_offset is None else -gateway.clock_offset
    return (
        printable(gateway.name),
        "down" if not gateway.lives else "draining" if gateway.draining else "up",
        printable(gateway.address) if gateway.address else "-",
        printable(gateway.interface),
        printable(gateway.version),
        f"{gateway.residents:,}",
        "copying" if gateway.lag is None else f"{gateway.lag:.1f} s",
        "-" if ahead is None else f"{ahead:+.2f} s",
        printable(gateway.service) if gateway.service else "-",
        str(show_moment(gateway.seen_at)),
    )
