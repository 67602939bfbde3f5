"""`wgjit up`: run the gateway on an interface."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wgjit.cli.log import set_up_log
from wgjit.config import Config, config_path, load_config
from wgjit.daemon.lifecycle import serve
from wgjit.daemon.secrecy import seal_memory


class DeliveryOption(StrEnum):
    """The words that --delivery takes."""

    AUTO = "auto"
    HOLD = "hold"
    REPLAY = "replay"
    FLIP = "flip"
    NONE = "none"


def up(
    interface: Annotated[str, typer.Argument(help="The WireGuard interface: used as it stands, or made.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file; by default /etc/wgjit/INTERFACE.toml if it exists.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="SQLite registry; comes before the configuration.")] = None,
    delivery: Annotated[
        DeliveryOption | None,
        typer.Option(help="How the first handshake is completed; comes before the configuration."),
    ] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Take peers off the interface that the registry does not know.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log debug events too.")] = False,
) -> None:
    """Run a gateway on INTERFACE: install a registered peer when its client knocks.

    Peers already installed stay, unless --exclusive says otherwise; those that are idle leave. SIGTERM and SIGINT end
    the gateway and leave all sessions running.
    """
    seal_memory()
    set_up_log(verbose)
    asyncio.run(serve(interface, _settings(interface, config, store, delivery, exclusive), _ready))


def _settings(
    interface: str, path: Path | None, store: Path | None, delivery: DeliveryOption | None, exclusive: bool
) -> Config:
    path = config_path(interface, path)
    settings = Config() if path is None else load_config(path)
    if store is not None:
        settings = settings.model_copy(update={"store": settings.store.model_copy(update={"path": store})})
    chosen: dict[str, Any] = {} if delivery is None else {"delivery": delivery.value}
    if exclusive:
        chosen["exclusive"] = True
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update=chosen)})


def _ready(about: dict[str, Any]) -> None:
    """Say on standard output that the first knock can be answered: a sentence on a terminal, else a line of JSON."""
    with suppress(OSError):  # nobody reads it: that is no reason not to serve
        print(_sentence(about) if sys.stdout.isatty() else json.dumps({"ready": True, **about}), flush=True)


def _sentence(about: dict[str, Any]) -> str:
    return (
        f"{about['interface']}: ready on port {about['listen_port']}, delivery {about['delivery']}, "
        f"{about['residents']} peers installed, registry {about['store']}\n"
        f"Ctrl-C ends the gateway; sessions stay. Watch it: wgjit feed {about['interface']}"
    )
