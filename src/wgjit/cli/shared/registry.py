"""What all commands on a registry file share: their options, and how they find and open it.

Which file: `--store` or WGJIT_STORE, else `store.path` of the interface's configuration, else
/var/lib/wgjit/INTERFACE.db. Which configuration: `--config` or WGJIT_CONFIG, else /etc/wgjit/INTERFACE.toml, else
/etc/wgjit/wgjit.toml if it lists the interface; the environment's settings (WGJIT_POOL_IPV4) come before it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from wgjit.cli.shared.options import bundle
from wgjit.management.site import Site, site
from wgjit.stores.base import Registry
from wgjit.stores.entries import Author
from wgjit.stores.opening import open_registry


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the registry that the shell has on the line so far; none rather than an error in the prompt."""
    with contextlib.suppress(Exception):
        given = context.params
        chosen = site(given.get("interface") or "wg0", given.get("config"), given.get("store"))
        with existing(chosen, read_only=True) as registry:
            return registry.peers.names(incomplete, 100)
    return []


Store = Annotated[
    Path | None,
    typer.Option("--store", envvar="WGJIT_STORE", help="The registry file; comes before the configuration."),
]
Interface = Annotated[str, typer.Option("--interface", help="Whose configuration and registry.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="WGJIT_CONFIG", help="TOML file; by default that of the interface in /etc/wgjit, if any."
    ),
]
_HANDLE = "A peer's name, public key, the first characters of its key (4 at least), or an address of it."
Handle = Annotated[str, typer.Argument(metavar="HANDLE", help=_HANDLE, autocompletion=_complete)]
Handles = Annotated[list[str] | None, typer.Argument(metavar="HANDLE", help=_HANDLE, autocompletion=_complete)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def _site(store: Store = None, interface: Interface = "wg0", config: ConfigFile = None) -> Site:
    return site(interface, config, store)


on_registry = bundle("here", _site)
"""Gives a command the options --store, --interface and --config, and as `here` the registry and settings they mean."""


def made(here: Site) -> contextlib.closing[Registry]:
    """The registry, made if there is none. Raises StoreError."""
    with contextlib.suppress(OSError):  # the registry's own error says what to do
        here.make_folder()
    return contextlib.closing(open_registry(here.where, pools=here.pools, create=True))


def existing(here: Site, *, read_only: bool = False) -> contextlib.closing[Registry]:
    """The registry that is there. Raises StoreError."""
    return contextlib.closing(open_registry(here.where, pools=here.pools, read_only=read_only))


def author() -> Author:
    """Whom the audit log names for what this command changes."""
    return Author.process("command line")
