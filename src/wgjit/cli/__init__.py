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
| `peer`     | `peer add`, `list`, `find`, `set`, `rotate`, `remove`, `import`, `export`, |
|            | `enable`, `disable`, `show`                                                |
| `release`  | `release`: the way back, all registered peers on the interface for good    |
| `status`   | `status`: a running gateway's residents and counters                       |
| `token`    | `token create`, `list`, `revoke`: who may ask the HTTP API                 |
| `up`       | `up`: run the gateway on an interface                                      |

Beside them: `shared`, what several of them share.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from typer.core import TyperGroup

from wgjit import stderr
from wgjit.errors import WgjitError
from wgjit.wire.key_text import without_keys

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


class _Commands(TyperGroup):
    """What is wrong with a command line is told without the keys in it: people give one in the place of its file."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _without_keys():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _without_keys():
            return super().invoke(ctx)


@contextmanager
def _without_keys() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # click's own errors; whose module they are is typer's matter, and changes
        if hasattr(error, "format_message") and isinstance(told := getattr(error, "message", None), str):
            error.message = without_keys(told)  # type: ignore[attr-defined]
        raise


def command_line(*names: str) -> typer.Typer:
    """The command line with these commands, or all. A daemon need not load what the others stand on to start."""
    app = typer.Typer(
        name="wgjit",
        cls=_Commands,
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
    stderr.hold_places()
    wanted = sys.argv[1:2] if sys.argv[1:2] and sys.argv[1] in COMMANDS else []
    try:
        with _loading():
            app = command_line(*wanted)
        app()
    except WgjitError as error:
        with suppress(OSError):  # nobody reads it, and the status tells
            print(f"wgjit: {error}", file=sys.stderr)
        sys.exit(1)
