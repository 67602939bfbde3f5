"""`wgjit drain` and `wgjit undrain`: let a gateway's clients go to other gateways of the fleet, and come back."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from wgjit.control.asking import answers, the_gateway
from wgjit.errors import GatewayUnavailable
from wgjit.times import parse_duration

_Interface = Annotated[
    str | None, typer.Argument(help="The WireGuard interface. By default that of the only gateway here.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON objects, one a line.")]


def drain(
    interface: _Interface = None,
    over: Annotated[
        str, typer.Option(metavar="DURATION", help="Wait so long for the clients at most, such as 60s or 5m.")
    ] = "60s",
    as_json: _Json = False,
) -> None:
    """Take over no more clients, be unhealthy, and wait until the clients are served by other gateways of the fleet.

    No session is ended. Exit status 0 once no client is left; 1 if some are after DURATION, and the gateway then
    drains on. The end is `wgjit undrain`, or a new start of the gateway.
    """
    seconds, name = parse_duration(over, "over"), the_gateway(interface)
    end, told = time.monotonic() + seconds, -1
    answer: Mapping[str, Any] | None = None
    for answer in answers(name, "drain", patience=10.0):
        if as_json:
            print(json.dumps(answer), flush=True)
        elif answer["left"] != told:
            told = answer["left"]
            print(f"{name}: draining, {_clients(told)} left", flush=True)
        if not answer["draining"] or not answer["left"] or time.monotonic() >= end:
            break
    if answer is None:
        raise GatewayUnavailable(f"{name}: the gateway hung up without an answer")
    if not answer["draining"]:
        raise GatewayUnavailable(f"{name}: somebody has ended the drain; {_clients(answer['left'])} left")
    if answer["left"]:
        why = "" if answer["others"] else ", and no other gateway of the fleet is known to serve"
        print(f"wgjit: {name}: {_clients(answer['left'])} left after {over}{why}; it drains on", file=sys.stderr)
        raise typer.Exit(1)


def undrain(interface: _Interface = None, as_json: _Json = False) -> None:
    """Serve as before a drain. For a minute clients of other gateways are taken over no faster than 500 a second."""
    name = the_gateway(interface)
    for answer in answers(name, "undrain"):
        print(json.dumps(answer) if as_json else f"{name}: serves, {_clients(answer['left'])} here")
        return
    raise GatewayUnavailable(f"{name}: the gateway hung up without an answer")


def _clients(number: int) -> str:
    return "no client" if number == 0 else f"{number:,} client{'s' if number > 1 else ''}"
