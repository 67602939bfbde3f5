"""What all commands on a registry share: their options, and how they find and open it.

The registry is the file or the postgresql:// URL of `--store` or WGJIT_STORE, else `store.url` or `store.path` of the
interface's configuration, else the file /var/lib/wgjit/INTERFACE.db. The configuration is the file of `--config` or
WGJIT_CONFIG, else /etc/wgjit/INTERFACE.toml, else /etc/wgjit/wgjit.toml if that lists the interface. Settings from the
environment, such as WGJIT_POOL_IPV4, override the configuration.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from wgjit.cli.shared.options import bundle
from wgjit.control.asking import answers
from wgjit.control.socket import interfaces
from wgjit.errors import StoreMissing, WgjitError
from wgjit.management.site import Site, site
from wgjit.stores.base import Registry
from wgjit.stores.entries import Author
from wgjit.stores.opening import open_registry
from wgjit.wire.key_text import shown


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    """Peer names for the shell's completion, from the registry that the line names. Errors give no names."""
    with contextlib.suppress(Exception):
        given = context.params
        chosen = site(given.get("interface") or "wg0", given.get("config"), given.get("store"))
        opened = open_registry(chosen.where, read_only=True, patience=2.0)  # nobody waits longer for a suggestion
        with contextlib.closing(opened) as registry:
            return registry.peers.names(incomplete, 100)
    return []


Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="WGJIT_STORE",
        metavar="FILE|URL",
        help="The registry: a file, or postgresql://USER@HOST/DATABASE. Overrides the configuration. Other users see "
        "an option's text in the list of processes, so keep a password in a passfile.",
    ),
]
Interface = Annotated[str, typer.Option("--interface", help="The interface whose configuration and registry are used.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="WGJIT_CONFIG", help="The TOML file. By default the interface's file in /etc/wgjit, if any."
    ),
]
_HANDLE = "A peer's name, public key, the first characters of its key (4 at least), or an address of it."
Handle = Annotated[str, typer.Argument(metavar="HANDLE", help=_HANDLE, autocompletion=_complete)]
Handles = Annotated[list[str] | None, typer.Argument(metavar="HANDLE", help=_HANDLE, autocompletion=_complete)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def _site(store: Store = None, interface: Interface = "wg0", config: ConfigFile = None) -> Site:
    return site(interface, config, store)


on_registry = bundle("here", _site)
"""Gives a command the options --store, --interface and --config, and the site that they mean as `here`."""


_PATIENCE = 1.0
"""Seconds for a gateway to say which registry it has. One that hangs keeps nobody from making another."""


def made(here: Site) -> contextlib.closing[Registry]:
    """The opened registry. A missing file is made, a missing schema in a database is not. Raises StoreError.

    A file that has gone from under a running gateway is not made: the gateway would take the new one for all there is,
    and end every session.
    """
    if not here.where.is_database and not os.path.exists(here.where.place):
        _refuse_if_served(Path(here.where.place))
    with contextlib.suppress(OSError):  # opening the registry then fails with an error that says what to do
        here.make_folder()
    return contextlib.closing(open_registry(here.where, pools=here.pools, create=True))


def _refuse_if_served(path: Path) -> None:
    """Raise StoreMissing if a gateway of this machine has the registry at this path, where no file is."""
    for interface in interfaces():
        with contextlib.suppress(WgjitError, OSError):  # of a gateway that does not answer, nothing is known
            served = next(answers(interface, "status", _PATIENCE), {}).get("store")
            if served is not None and os.path.abspath(served) == os.path.abspath(path):
                break
    else:
        return
    raise StoreMissing(
        f"registry {shown(path)}: no such file, but the gateway on {shown(interface)} uses it: put it back, from where "
        "it went or from a backup. To begin with an empty one all the same, stop the gateway first"
    )


def existing(here: Site, *, read_only: bool = False) -> contextlib.closing[Registry]:
    """The opened registry, which must exist. Raises StoreError."""
    return contextlib.closing(open_registry(here.where, pools=here.pools, read_only=read_only))


def author() -> Author:
    """The author that the audit log names for the changes of this command."""
    return Author.process("command line")
