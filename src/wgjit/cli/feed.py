"""`wgjit feed`: show every initiation that an interface receives, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from wgjit.control.client import listen
from wgjit.errors import GatewayUnavailable
from wgjit.feed import watch
from wgjit.record import Decision, FeedRecord
from wgjit.refusal import Refusal

_STYLES = {
    Decision.INSTALLED: "bold green",
    Decision.RESIDENT: "green",
    Decision.OBSERVED: "cyan",
    Decision.CALLED: "bold cyan",
    Decision.REFUSED: "yellow",
}


def feed(
    interface: Annotated[str, typer.Argument(help="The WireGuard interface.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="End after this many initiations.")] = None,
) -> None:
    """Show every initiation as it arrives: claimed key, endpoint, proven or not, the decision, and how long it took.

    Without a running gateway the command only watches the interface. It installs and changes nothing.
    """
    try:
        asyncio.run(_follow(interface, as_json, count))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _follow(interface: str, as_json: bool, count: int | None) -> None:
    seen = 0
    records = await _source(interface)
    if _console.is_terminal and not as_json:
        _console.print(header(), soft_wrap=True)
    async for record in records:
        if as_json:
            print(json.dumps(record.as_dict(), separators=(",", ":")), flush=True)
        else:
            _console.print(line(record), soft_wrap=True)
        seen += 1
        if seen == count:
            return
    print(f"wgjit: the gateway on {interface} ended", file=sys.stderr)


async def _source(interface: str) -> AsyncIterator[FeedRecord]:
    """The gateway's feed or, without a gateway, this process's own watching. Says on standard error which it is."""
    try:
        records = await listen(interface)
    except GatewayUnavailable:
        records = await watch(interface)
        print(f"wgjit: no gateway runs on {interface}; watching only, nothing is installed", file=sys.stderr)
    else:
        print(f"wgjit: listening to the gateway on {interface}", file=sys.stderr)
    return records


_console = Console(highlight=False)


def hint(record: FeedRecord) -> str:
    """What an operator can do about a refusal that a wrong clock may have caused. Empty for other refusals."""
    match record.refusal:
        case Refusal.STALE:
            return (
                "stale: older than its claim; if this client's clock was set back: "
                f"wgjit claim reset {record.public_key}"
            )
        case Refusal.FUTURE:
            return "future: this client's clock, or the gateway's, is wrong; or raise gateway.max_clock_skew"
    return ""


_WIDTHS = (12, 44, 16, 21, 8, 12, 8)
"""Of the columns from the time to the delivery. A longer value moves what follows it to the right."""


def header() -> Text:
    """The names of a line's columns, for a terminal. docs/FEED.md explains them."""
    return Text(_row("time", "public key", "name", "source", "proof", "outcome", "delivery") + "  stages", "dim bold")


def line(record: FeedRecord) -> Text:
    """One initiation as a line for a terminal, in the columns of `header`."""
    when = "-" if record.time is None else datetime.fromtimestamp(record.time).strftime("%H:%M:%S.%f")[:-3]
    outcome = record.refusal or record.decision
    proof = "proven" if record.proven else "unproven"
    stages = " ".join(f"{stage} {microseconds:.0f}" for stage, microseconds in record.stages.items())
    cells = (when, record.public_key, record.name, record.source, proof, outcome, record.delivery)
    padded = [f"{cell or '-'!s:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)]
    styles = ("dim", "bold", "", "", "", _STYLES[record.decision], "")
    pairs = [part for cell, style in zip(padded, styles, strict=True) for part in ((cell, style), "  ")]
    return Text.assemble(
        *pairs[:-1],
        (f"  from {record.held_by}" if record.held_by else "", "cyan"),
        (f"  {stages} µs" if stages else "", "dim"),
        (f"  {advice}" if (advice := hint(record)) else "", "yellow"),
    )


def _row(*cells: str) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
