"""`wgjit health`: whether a gateway is fit to serve clients."""

from __future__ import annotations

from typing import Annotated

import typer

from wgjit.control import asking


def health(
    interface: Annotated[
        str | None, typer.Argument(help="The WireGuard interface. By default all on which a gateway runs here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each gateway.")] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on, ask each second, and print what changes."),
    ] = False,
) -> None:
    """Tell in one line whether a gateway is fit to serve clients, and if not, why. Exit status 0 if it is, else 1.

    For keepalived, BIRD and load balancers; docs/LEAVING.md has their configurations.
    """
    if follow:
        asking.follow(interface, as_json=as_json)
    raise typer.Exit(asking.report(interface, as_json=as_json))
