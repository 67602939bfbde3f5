"""`wgjit peer import`: register many peers from files, as a stream.

An import is all or nothing for each file, or for each batch, or leaves out what cannot be imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TextIO, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wgjit.cli.shared.registry import Interface, author, made, on_registry
from wgjit.errors import ConfigError, InvalidValue
from wgjit.management import file_kinds, imports, peer_readers
from wgjit.management.file_kinds import Format
from wgjit.management.own import Own
from wgjit.management.site import Site
from wgjit.stores.base import Load
from wgjit.stores.entries import Loaded
from wgjit.wire.key_text import shown

_SHOWN = 20
"""Standard error shows this many bad lines. The rest is only counted."""


@on_registry
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files with peers; - is standard input.")],
    form: Annotated[
        Format | None,
        typer.Option("--format", help="The files' format. By default taken from a file's ending or its first line."),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Peers in a batch, which is all or nothing. 0: the whole file at once."),
    ] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Report bad lines and refused peers, and import the rest.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --skip-bad: write every reported line to this file.")
    ] = None,
    names: Annotated[
        bool, typer.Option(help="In format conf, a comment directly above or in a [Peer] is its name.")
    ] = True,
    update: Annotated[
        bool, typer.Option("--update", help="Give peers that are registered already the files' names and labels.")
    ] = False,
    interface: Interface = "wg0",
    *,
    context: typer.Context,
    here: Site,
) -> None:
    """Register all peers of the files. If one peer is refused, no peer of its file is registered (see --batch).

    A peer that is registered already with exactly these values counts as present. So an import may be run again. Of a
    dump with several interfaces, the peers of --interface are registered.
    """
    source = context.get_parameter_source("interface")
    asked = interface if source is not None and source.name == "COMMANDLINE" else None
    reading = _Reading(form, names, asked)
    if report is not None and not skip_bad:
        raise ConfigError("--report: is for the lines that --skip-bad leaves out; give both, or neither")
    with contextlib.ExitStack() as stack:
        refusals = _Refusals(stack.enter_context(_written(report)), skip_bad)
        registry = stack.enter_context(made(here))
        progress = stack.enter_context(_Progress(files))
        load = stack.enter_context(registry.peers.load(by=author()))
        total = _Total()
        for path in files:
            refusals.begin(path, batch)
            with _opened(path) as file:
                _import(path, file, reading, batch, load, refusals, progress, total, here.own, update)
    print(_summary(total, refusals))


class _Total:
    """Counts the imported peers of all files so far."""

    def __init__(self) -> None:
        self.added = 0
        self.present = 0
        self.updated = 0

    def count(self, loaded: Loaded) -> None:
        self.added += loaded.added
        self.present += loaded.present
        self.updated += loaded.updated


@dataclass(frozen=True, slots=True)
class _Reading:
    """How files are read."""

    form: Format | None
    names: bool
    interface: str | None


def _import(
    path: Path,
    file: io.BufferedReader,
    how: _Reading,
    batch: int,
    load: Load,
    refusals: _Refusals,
    progress: _Progress,
    total: _Total,
    own: Own,
    update: bool,
) -> None:
    """Import one file. Raises InvalidValue (names file and line), StoreError, ConfigError (the file is unreadable)."""
    source = "standard input" if str(path) == "-" else str(path.absolute())

    def loaded(batch: Loaded) -> None:
        total.count(batch)
        refusals.committed = total.added + total.present + total.updated

    try:
        head = file.peek(4096)
        file_kinds.refuse_others(head)
        form = how.form or file_kinds.guess(path.name, head)
        chunks = peer_readers.read(progress.reading(file), form, names=how.names, interface=how.interface)
        tell = imports.Teller(
            refusals.refused,
            loaded,
            refusals.key_comment,
            refusals.name_left,
            refusals.note,
            refusals.settled,
            progress.count,
            progress.writing,
        )
        imports.Import(load, batch, source, tell, own=own, update=update).all(chunks)
    except InvalidValue as error:
        if refusals.is_told:
            raise
        refusals.tell_collected()
        raise InvalidValue(f"{shown(path)}: {error}; {refusals.consequence}") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror}") from None


class _Refusals:
    """Handles bad lines: collects those of a batch for one error or, with `skip`, reports and counts them."""

    def __init__(self, report: TextIO | None, skip: bool) -> None:
        self.count = 0
        self.key_comments = 0
        self.names_left = 0
        self._collected: list[str] = []
        self.committed = 0
        """Peers of all files so far whose registration is committed."""
        self.is_told = False
        self._report = report
        self._skip = skip
        self._path = Path("-")
        self._batch = 0

    def begin(self, path: Path, batch: int) -> None:
        """The following lines belong to `path`."""
        self._path, self._batch = path, batch

    def refused(self, line: int, what: object) -> None:
        """Handle a line that is not imported."""
        self.count += 1
        text = f"{shown(self._path)}: line {line}: {what}"
        if self._skip:
            self._tell(text, self.count)
        elif self.count <= _SHOWN:
            self._collected.append(text)

    def settled(self) -> None:
        """Raise InvalidValue if there are bad lines, unless they are skipped. The first ones are shown."""
        if self._skip or not self.count:
            return
        self.is_told = True
        if self.count == 1:
            raise InvalidValue(f"{self._collected[0]}; {self.consequence}")
        self.tell_collected()
        which = (
            f"{self.count} lines" if self.count <= _SHOWN else f"{self.count} lines, the first {_SHOWN} of them above,"
        )
        told = f"{which} cannot be imported (--skip-bad imports the rest)"
        raise InvalidValue(f"{shown(self._path)}: {told}; {self.consequence}")

    def tell_collected(self) -> None:
        """Show the first bad lines."""
        for text in self._collected:
            print(f"wgjit: {text}", file=sys.stderr)
        self._collected.clear()

    def name_left(self, line: int, why: str) -> None:
        """Report a name that was left out. Its peer is imported."""
        self.names_left += 1
        self._tell(f"{shown(self._path)}: line {line}: {why}", self.names_left)

    def note(self, text: str) -> None:
        """Report what is true of the whole file."""
        self._tell(f"{shown(self._path)}: {text}", 1)

    def key_comment(self, line: int) -> None:
        """Report a comment with a key in it, which is not taken for a name. Its peer is imported."""
        self.key_comments += 1
        text = (
            "a comment with a key in it was not taken for a name; if that is a secret, make another and remove it here"
        )
        self._tell(f"{shown(self._path)}: line {line}: {text}", self.key_comments)

    def _tell(self, text: str, count: int) -> None:
        """Write a text to the report, and show the first ones of its kind on standard error."""
        if self._report is not None:
            print(text, file=self._report)
        if count <= _SHOWN:
            print(f"wgjit: {text}", file=sys.stderr)
        elif count == _SHOWN + 1:
            where = "more follow in the report" if self._report else "more are only counted; --report FILE has them all"
            print(f"wgjit: {where}", file=sys.stderr)

    @property
    def consequence(self) -> str:
        """What an error leaves behind in the registry, for its message."""
        if not self.committed:
            return "nothing was imported"
        before = "batch" if self._batch else "file"
        return f"{_peers(self.committed)} before this {before} {'is' if self.committed == 1 else 'are'} registered"


class _Progress:
    """Shows rate and remaining time on standard error, if that is a terminal."""

    def __init__(self, files: list[Path]) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[peers]:,} peers"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._size = _size(files)
        self._task = TaskID(0)
        self._peers = 0

    def __enter__(self) -> _Progress:
        self._progress.start()
        self._task = self._progress.add_task("reading", total=self._size, peers=0, rate="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def reading(self, file: io.BufferedReader) -> BinaryIO:
        """The file, wrapped so that reading it moves the bar."""
        return io.BufferedReader(_Counted(file, self._progress, self._task), 1 << 20)

    def count(self, peers: int) -> None:
        """Add to the number of peers that were read."""
        self._peers += peers
        elapsed = self._progress.tasks[0].elapsed
        rate = f"{self._peers / elapsed:,.0f}/s" if elapsed else ""
        self._progress.update(self._task, peers=self._peers, rate=rate)

    def writing(self, peers: int) -> None:
        """Show that the file is read and the registry now writes."""
        self._progress.update(self._task, description=f"writing {peers:,}")


class _Counted(io.RawIOBase):
    """A file whose reads advance a progress bar."""

    def __init__(self, file: io.BufferedReader, progress: Progress, task: TaskID) -> None:
        self._file, self._progress, self._task = file, progress, task

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._progress.update(self._task, advance=count, description="reading")
        return count


def _size(files: list[Path]) -> int | None:
    """The bytes of all files. None if a file is not a regular file, because then its length is unknown."""
    try:
        states = [os.fstat(0) if str(path) == "-" else path.stat() for path in files]
    except OSError:
        return None
    return sum(state.st_size for state in states) if all(stat.S_ISREG(state.st_mode) for state in states) else None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    if str(path) == "-":
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror}") from None
    with file:
        yield file


@contextlib.contextmanager
def _written(report: Path | None) -> Iterator[TextIO | None]:
    if report is None:
        yield None
        return
    try:
        file = open(report, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigError(f"--report {shown(report)}: {error.strerror}") from None
    with file:
        yield file


def _summary(total: _Total, refusals: _Refusals) -> str:
    refused, key_comments = refusals.count, refusals.key_comments
    text = f"imported {_peers(total.added)}"
    if total.updated:
        text += f", {total.updated} updated"
    if total.present:
        text += f", {total.present} already present"
    if refused:
        text += f", {refused} {'line' if refused == 1 else 'lines'} left out"
    if refusals.names_left:
        text += f", {refusals.names_left} {'name' if refusals.names_left == 1 else 'names'} left out"
    if key_comments:
        text += f", {key_comments} {'comment' if key_comments == 1 else 'comments'} with a key not taken for a name"
    return text


def _peers(count: int) -> str:
    return f"{count} {'peer' if count == 1 else 'peers'}"
