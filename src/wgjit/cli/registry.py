"""`wgjit registry`: makes, migrates and copies registries."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wgjit.cli.shared.registry import on_registry
from wgjit.errors import ConfigError, InvalidValue
from wgjit.management.site import Site
from wgjit.stores.copying.tables import Table
from wgjit.stores.opening import Where, copy_registry, make_registry, migrate_registry

app = typer.Typer(name="registry", help="Make, migrate and copy registries.", no_args_is_help=True)

_PASSFILE = "Keep the password in a passfile: other users see the text of a command."


@app.command()
def init(
    url: Annotated[str, typer.Argument(metavar="URL", help=f"postgresql://USER@HOST/DATABASE. {_PASSFILE}")],
) -> None:
    """Make the registry's schema in a database, or migrate an older one. Harmless if it is there already."""
    where = Where(url)
    if not where.is_database:
        raise InvalidValue("URL: write postgresql://USER@HOST/DATABASE; a registry in a file needs no init")
    print(f"registry {where}: {'ready' if make_registry(where) else 'has the present schema already'}", file=sys.stderr)


@app.command()
@on_registry
def migrate(*, here: Site) -> None:
    """Bring a registry of an older wgjit to the schema of this one. Harmless if it is there already.

    A gateway that follows the registry goes on. Programs of the older version refuse the migrated registry.
    """
    was_older = migrate_registry(here.where)
    said = "migrated to the present schema" if was_older else "has the present schema already"
    print(f"registry {here.where}: {said}", file=sys.stderr)


@app.command()
def copy(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The registry to copy: a file, or postgresql://USER@HOST/DATABASE.")
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="TO", help=f"An empty registry, or none yet: a file or a URL. {_PASSFILE}"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Copy a whole registry: peers, labels, claims, quarantines, tokens, the audit log, and kept answers.

    The copy is compared with FROM at the end. If the command is interrupted, run it again: it goes on where it was.
    Nothing opens TO before it is whole. FROM may be in use, but what changes meanwhile is not in the copy, so end what
    writes to FROM first: gateways and the API. Sessions go on meanwhile.
    """
    began = time.monotonic()
    from_, to = _where("FROM", source), _where("TO", target)
    with _Shown() as progress:
        counts, has_changed = copy_registry(from_, to, progress)
    took = time.monotonic() - began
    if as_json:
        rows = {table.name: count for table, count in counts.items()}
        about = {"from": str(from_), "to": str(to), "rows": rows, "seconds": round(took, 3), "changed": has_changed}
        print(json.dumps(about))
    else:
        said = ", ".join(f"{count:,} {table.what}" for table, count in counts.items() if count) or "nothing"
        print(f"copied {said} from {from_} to {to} in {took:.1f} s; both are equal")
    if has_changed:
        print(
            f"wgjit: registry {from_}: has changed meanwhile, and the copy has not; end what writes to it, and copy "
            "into another empty registry",
            file=sys.stderr,
        )


def _where(name: str, text: str) -> Where:
    """The place that an argument means. Raises ConfigError."""
    if not Where(text).is_database and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text):  # it may hold a password
        raise ConfigError(f"{name}: give a file, or postgresql://USER@HOST/DATABASE; nothing else can be copied")
    return Where(text)


class _Shown:
    """Shows a copy's progress on standard error: a bar on a terminal, otherwise a line for each step."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._is_terminal = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._is_terminal,
            transient=True,
        )
        self._task = TaskID(0)

    def __enter__(self) -> _Shown:
        self._bar.start()
        self._task = self._bar.add_task("", total=1, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, doing: str, table: Table, rows: int) -> None:
        """A step begins."""
        self._bar.reset(self._task, total=max(1, rows), description=f"{doing} {table.what}", rate="")
        if rows and not self._is_terminal:
            print(f"{doing} {rows:,} {table.what}", file=sys.stderr, flush=True)

    def advance(self, rows: int) -> None:
        """So many rows more are done."""
        self._bar.advance(self._task, rows)
        task = self._bar.tasks[0]
        if task.elapsed:
            self._bar.update(self._task, rate=f"{task.completed / task.elapsed:,.0f}/s")
