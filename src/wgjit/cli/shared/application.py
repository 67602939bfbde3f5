"""The command line as typer has it. Loaded only when a command needs it: that takes a sixth of a second."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wgjit.database_url import without_urls
from wgjit.wire.key_text import without_keys

PLACES = {
    "up": "up",
    "feed": "feed",
    "status": "gateway.status",
    "health": "gateway.health",
    "drain": "gateway.drain",
    "undrain": "gateway.drain",
    "doctor": "doctor",
    "decode": "decode",
    "peer": "peer",
    "claim": "claim",
    "token": "token",
    "audit": "audit",
    "gateways": "gateways",
    "registry": "registry",
    "config": "config",
    "api": "api",
    "adopt": "adopt",
    "release": "release",
}
"""The module of each command, in the order of `wgjit --help`. It has a function of the command's name or, for a group,
`app`."""


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


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"wgjit {version('wgjit')}")
        raise typer.Exit


def command_line(*names: str) -> typer.Typer:
    """The command line with the named commands, or with all. A daemon starts without the imports of other commands."""
    app = typer.Typer(
        name="wgjit",
        cls=_Commands,
        help="Just-in-time WireGuard peers: install a peer when its client knocks.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # these print local variables, and a local variable can be a secret
    )

    # With a callback, typer keeps a group of commands, even if the group has only one command.
    @app.callback()
    def group(
        version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version, and end.")
        ] = False,
    ) -> None:
        pass

    for name in names or PLACES:
        module = importlib.import_module(f"wgjit.cli.{PLACES[name]}")
        if hasattr(module, "app"):
            app.add_typer(module.app)
        else:
            app.command(name)(getattr(module, name))
    return app
