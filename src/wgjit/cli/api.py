"""`wgjit api`: serve the registry over HTTP."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from wgjit.api.server import serve
from wgjit.cli.shared.log import announce, set_up_log
from wgjit.cli.shared.registry import made, on_registry
from wgjit.config import ApiSettings
from wgjit.config.validation import said
from wgjit.errors import ConfigError
from wgjit.management.site import Site


@on_registry
def api(
    interface: Annotated[
        str, typer.Argument(help="The interface whose configuration, registry and gateway the API uses.")
    ] = "wg0",
    socket: Annotated[
        Path | None, typer.Option(help="The path of the Unix socket. Overrides the configuration.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help="Listen on TCP, with TLS. Overrides the configuration."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log debug events too.")] = False,
    *,
    here: Site,
) -> None:
    """Serve the registry over HTTP: on a Unix socket, and on TCP if TLS is configured.

    A program that can open the Unix socket may do everything. On TCP it needs a token: wgjit token create.
    """
    set_up_log(verbose)
    here = _with(here, socket, listen)
    with made(here):
        pass  # makes a missing registry and migrates an old one before the first request
    serve(interface, here, _ready)


def _with(here: Site, socket: Path | None, listen: str | None) -> Site:
    """The site with the values of the options. Raises ConfigError."""
    settings = here.config.api.model_dump()
    if socket is not None:
        settings["socket"] = socket
    if listen is not None:
        settings["listen"] = listen
    try:
        api_settings = ApiSettings.model_validate(settings)
    except ValidationError as error:
        text = said(error.errors()[0])
        raise ConfigError(f"--listen {listen}: {text}") from None
    return Site(here.config.model_copy(update={"api": api_settings}), here.source, here.where, reads_key=False)


def _ready(about: dict[str, Any]) -> None:
    """Say on standard output that the API answers requests: a sentence on a terminal, else a line of JSON."""
    announce(_sentence(about) if sys.stdout.isatty() else json.dumps({"ready": True, **about}))


def _sentence(about: dict[str, Any]) -> str:
    where = f"{about['socket']} and {about['listen']}" if about["listen"] else about["socket"]
    return f"{about['interface']}: the API answers on {where}, registry {about['store']}"
