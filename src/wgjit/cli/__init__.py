"""The command `wgjit`: one module per command group.

| module     | commands                                                                   |
| ---------- | -------------------------------------------------------------------------- |
| `adopt`    | `adopt`: register the peers of an interface that holds all of them         |
| `api`      | `api`: serve the registry over HTTP                                        |
| `audit`    | `audit list`, `prune`: who changed what                                    |
| `claim`    | `claim show`, `reset`: a peer's last proof                                 |
| `config`   | `config check`, `show`: settings, before a gateway takes them                |
| `decode`   | `decode`: initiations out of a capture file or one message, offline        |
| `doctor`   | `doctor`: what this machine can do, and which delivery follows from it     |
| `feed`     | `feed`: every initiation seen, live                                        |
| `peer`     | `peer add`, `list`, `find`, `set`, `rotate`, `remove`, `import`, `export`,  |
|            | ...; its parts are in `peer_*`                                              |
| `release`  | `release`: the way back, all registered peers on the interface for good    |
| `status`   | `status`: a running gateway's residents and counters                       |
| `token`    | `token create`, `list`, `revoke`: who may ask the HTTP API                 |
| `up`       | `up`: run the gateway on an interface                                      |
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from wgjit.errors import WgjitError

COMMANDS = (
    "up",
    "feed",
    "status",
    "doctor",
    "decode",
    "peer",
    "claim",
    "token",
    "audit",
    "config",
    "api",
    "adopt",
    "release",
)
"""In the order of `wgjit --help`; each is a module here, with a function of its name or, for a group, an `app`."""


def command_line(*names: str) -> typer.Typer:
    """The command line with these commands, or all. A daemon need not load what the others stand on to start."""
    app = typer.Typer(
        name="wgjit",
        help="Just-in-time WireGuard peers: install a peer when its client knocks.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # its frames print local variables, and a local variable can be a secret
    )

    @app.callback()
    def group() -> None:
        """Keeps the commands a group, also where there is a single one."""

    for name in names or COMMANDS:
        module = importlib.import_module(f"wgjit.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app)
        else:
            app.command(name)(getattr(module, name))
    return app


@contextmanager
def _loading() -> Iterator[None]:
    """Load modules without what costs a start and brings nothing.

    That is a search for garbage in what is there to stay, and one through all packages for plugins of pydantic's, which
    are not to run beside a private key anyway.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    """Entry point of the console script: an error made on purpose is one line and exit status 1."""
    wanted = sys.argv[1:2] if sys.argv[1:2] and sys.argv[1] in COMMANDS else []
    try:
        with _loading():
            app = command_line(*wanted)
        app()
    except WgjitError as error:
        print(f"wgjit: {error}", file=sys.stderr)
        sys.exit(1)
