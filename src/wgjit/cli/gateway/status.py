"""`wgjit status`: show the status of a running gateway."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from wgjit.control import client


def status(
    interface: Annotated[str, typer.Argument(help="The WireGuard interface.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a running gateway's residents and counters. Exit status 1 if no gateway runs."""
    answer = asyncio.run(client.status(interface)).as_dict()
    if as_json:
        print(json.dumps(answer))
        return
    width = max(map(len, answer))
    for name, value in answer.items():
        print(f"{name:<{width}}  {_shown(value)}")


def _shown(value: Any) -> Any:
    """A field's value for people: numbers by name, or sentences by name."""
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(one, str) for one in value.values()):
        return "; ".join(f"{name}: {one}" for name, one in value.items())
    return ", ".join(f"{name} {one}" for name, one in value.items()) or "-"
