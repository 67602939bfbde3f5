"""`wgjit registry`: makes and migrates a registry of record in PostgreSQL."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from wgjit.errors import InvalidValue
from wgjit.stores.opening import Where, make_registry

app = typer.Typer(name="registry", help="Make and migrate a registry in PostgreSQL.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep this a group of commands, even if the group has only one command."""


@app.command()
def init(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="postgresql://USER@HOST/DATABASE. Keep the password in a passfile."),
    ],
) -> None:
    """Make the registry's schema in a database, or migrate an older one. Harmless if it is there already."""
    where = Where(url)
    if not where.is_database:
        raise InvalidValue("URL: write postgresql://USER@HOST/DATABASE; a registry in a file needs no init")
    print(f"registry {where}: {'ready' if make_registry(where) else 'has the present schema already'}", file=sys.stderr)
