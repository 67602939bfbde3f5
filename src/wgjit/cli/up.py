"""`wgjit up`: run the gateway on one interface or several."""

from __future__ import annotations

import asyncio
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wgjit.cli.shared.log import announce, set_up_log
from wgjit.config import Loaded, listed_interfaces, load_all
from wgjit.config.environment import put_store, unknown_variables
from wgjit.config.layers import Named
from wgjit.control.status import GatewayStatus
from wgjit.daemon.process.serve import serve
from wgjit.errors import ConfigError
from wgjit.secrecy import seal_memory


class DeliveryOption(StrEnum):
    """The values of --delivery."""

    AUTO = "auto"
    HOLD = "hold"
    REPLAY = "replay"
    FLIP = "flip"
    NONE = "none"


def up(
    interfaces: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INTERFACE]...",
            help="WireGuard interfaces: existing ones are used as they stand, others are made. "
            "By default the interfaces that the configuration file lists.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="WGJIT_CONFIG",
            help="The TOML file. By default /etc/wgjit/INTERFACE.toml, or /etc/wgjit/wgjit.toml, if it exists.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="The registry: a SQLite file, postgresql://USER@HOST/DATABASE, or the https address of a service. "
            "Overrides environment and file. Keep a password in a passfile: other users see this option's text.",
        ),
    ] = None,
    delivery: Annotated[
        DeliveryOption | None,
        typer.Option(help="How the first handshake is completed. Overrides environment and file."),
    ] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Remove all peers that the registry does not know.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log debug events too.")] = False,
) -> None:
    """Run a gateway on each INTERFACE: install a registered peer when its client knocks.

    Peers that are installed already stay, unless --exclusive is given. Registered peers leave when they are idle.
    SIGTERM and SIGINT end the gateway, and SIGHUP where it runs on a terminal. All sessions go on.
    """
    seal_memory()
    log = set_up_log(verbose)
    settings = _settings(interfaces or [], config, _options(store, delivery, exclusive))
    for told in unknown_variables():
        log.warning("environment", why=told)
    asyncio.run(serve({one.interface: one.config for one in settings}, _ready))


def _options(store: str | None, delivery: DeliveryOption | None, exclusive: bool) -> Named:
    options = Named("command line")
    if store is not None:
        put_store(options, "--store", store)
    if delivery is not None:
        options.put("--delivery", ("gateway", "delivery"), delivery.value)
    if exclusive:
        options.put("--exclusive", ("gateway", "exclusive"), True)
    return options


def _settings(interfaces: list[str], path: Path | None, options: Named) -> list[Loaded]:
    for interface in interfaces:
        if interfaces.count(interface) > 1:
            raise ConfigError(f"{interface}: name it once")
    return load_all(interfaces or listed_interfaces(path), path, [options])


def _ready(about: GatewayStatus) -> None:
    """Say on standard output that the gateway is ready for knocks: a sentence on a terminal, else a line of JSON."""
    announce(_sentence(about) if sys.stdout.isatty() else json.dumps({"ready": True, **about.as_dict()}))


def _sentence(about: GatewayStatus) -> str:
    return (
        f"{about.interface}: ready on port {about.listen_port}, delivery {about.delivery}, "
        f"{about.residents} peers installed, registry {about.store}\n"
        f"Ctrl-C ends the gateway; sessions stay. Watch it: wgjit feed {about.interface}"
    )
