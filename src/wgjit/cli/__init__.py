"""The command `wgjit`: one module per command group.

| module     | commands                                                                   |
| ---------- | -------------------------------------------------------------------------- |
| `adopt`    | `adopt`: register the peers of an interface that holds all of them         |
| `api`      | `api`: serve the registry over HTTP                                        |
| `audit`    | `audit list`, `prune`: who changed what                                    |
| `claim`    | `claim show`, `reset`: a peer's last proof                                 |
| `config`   | `config check`, `show`: settings, before a gateway reads them              |
| `decode`   | `decode`: the initiations in a capture file, or one message, offline       |
| `doctor`   | `doctor`: what this machine can do, and which delivery follows from it     |
| `feed`     | `feed`: every initiation that an interface receives, live                  |
| `gateways` | `gateways list`, `forget`: the gateways that share a registry               |
| `peer`     | `peer add`, `list`, `find`, `set`, `rotate`, `remove`, `import`, `export`, |
|            | `enable`, `disable`, `show`, `where`                                       |
| `registry` | `registry init`, `copy`: makes, migrates and copies registries             |
| `release`  | `release`: the way back; installs all registered peers for good            |
| `status`   | `status`: a running gateway's residents and counters                       |
| `token`    | `token create`, `list`, `revoke`: tokens of the HTTP API                   |
| `up`       | `up`: run the gateway on an interface                                      |

Besides these, the package `shared` holds what several commands share.
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
from wgjit.database_url import without_urls
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
    "gateways",
    "registry",
    "config",
    "api",
    "adopt",
    "release",
)
"""The commands in the order of `wgjit --help`. Each is a module with a function of its name or, as a group, `app`."""


class _Commands(TyperGroup):
    """Hides keys and databases' URLs in the errors about a command line, because people type them in wrong places."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _without_secrets():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _without_secrets():
            return super().invoke(ctx)


@contextmanager
def _without_secrets() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # click's own errors. Their class is not named here, because typer changes the module that holds it.
        if hasattr(error, "format_message") and isinstance(told := getattr(error, "message", None), str):
            error.message = without_urls(without_keys(told))  # type: ignore[attr-defined]
        raise


def command_line(*names: str) -> typer.Typer:
    """The command line with the named commands, or with all. A daemon starts without the imports of other commands."""
    app = typer.Typer(
        name="wgjit",
        cls=_Commands,
        help="Just-in-time WireGuard peers: install a peer when its client knocks.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # these print local variables, and a local variable can be a secret
    )

    @app.callback()
    def group() -> None:
        """Make typer keep a group of commands, even if the group has only one command."""

    for name in names or COMMANDS:
        module = importlib.import_module(f"wgjit.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app)
        else:
            app.command(name)(getattr(module, name))
    return app


@contextmanager
def _loading() -> Iterator[None]:
    """Load modules without two searches that only make the start slower.

    The first is a garbage collection among objects that stay anyway. The second is pydantic's search for plugins in all
    packages; such plugins must not run in a process that holds a private key.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    """Entry point of the console script. A WgjitError becomes one line on standard error and exit status 1."""
    stderr.hold_places()
    wanted = sys.argv[1:2] if sys.argv[1:2] and sys.argv[1] in COMMANDS else []
    try:
        with _loading():
            app = command_line(*wanted)
        app()
    except WgjitError as error:
        with suppress(OSError):  # standard error may be closed; the exit status still tells
            print(f"wgjit: {error}", file=sys.stderr)
        sys.exit(1)
