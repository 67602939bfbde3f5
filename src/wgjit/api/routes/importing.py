"""One import while its lines arrive: the event loop collects lines, and whole blocks of them go to a thread.

Until a sender's first block is full, the import opens no registry and holds no thread. So a slow sender costs only the
memory for its bytes, a megabyte at most. The caller's token is checked again before each commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from wgjit.api.caller import Caller
from wgjit.api.entrance.tenure import over_problem
from wgjit.api.problems import Kind, Problem
from wgjit.api.registries import Registries
from wgjit.errors import InvalidValue, WgjitError
from wgjit.management import imports, peer_readers
from wgjit.management.imports import Teller
from wgjit.management.own import Own
from wgjit.management.peer_readers import Blocks
from wgjit.stores.base import Registry
from wgjit.stores.entries import Answer, Loaded

_TOLD = 1000
"""An answer names this many bad lines at most. The rest is only counted."""

_TOLD_AT_ONCE = 20
"""Without `skip_bad`, the import ends at this bad line. The problem names all of them."""

_DETAIL = 500
"""Characters of a bad line's error in an answer. An error may repeat part of the line, so it needs a limit."""

_SOURCE = "HTTP API"
"""The source of the peers that the audit log names."""

CACHE = 16 << 10
"""KiB of page cache for each of an import's two connections. Beyond that, SQLite sorts in files."""

T = TypeVar("T")


class Import:
    """One import, used as `async with`. When the block ends, for whatever reason, uncommitted peers are dropped."""

    def __init__(
        self,
        registries: Registries,
        threads: CapacityLimiter,
        caller: Caller,
        skip_bad: bool,
        batch: int,
        *,
        update: bool = False,
        own: Callable[[], Own] = Own,
    ) -> None:
        self._registries = registries
        self._threads = threads
        self._caller = caller
        self._batch = batch
        self._update = update
        self._own = own
        self._told = _Told(skip_bad, update)
        self._teller = Teller(self._told.refused, self._told.loaded, settled=self._told.settled)
        self._blocks = Blocks()
        self._open = ExitStack()
        self._registry: Registry | None = None
        self._load: imports.Import | None = None

    async def answered(self, key: str) -> Answer | None:
        """The stored answer to this idempotency key, None if there is none."""

        def find() -> Answer | None:
            with self._registries.use() as registry:
                return registry.answers.find(key, by=self._caller.author)

        return await self._run(find)

    async def take(self, part: bytes) -> None:
        """Take the next part of the body. Raises StoreError, and Problem for a bad line."""
        try:
            block = self._blocks.push(part)
        except InvalidValue as error:  # an endless line, which makes the rest unreadable
            raise self._told.unreadable(error.told) from None
        if block is not None:
            await self._run(lambda: self._stage(block))

    async def finish(self, key: str | None, fingerprint: bytes) -> dict[str, Any]:
        """Register the rest and return the answer's content. Raises Problem, StoreError."""
        return await self._run(lambda: self._finish(key, fingerprint))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._load is not None:
            with CancelScope(shield=True):
                await self._run(self._open.close)

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(self._step, work, limiter=self._threads)

    # --- on a thread ----------------------------------------------------------------------------------------------

    def _step(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except BaseException as error:  # the open load gets the error, because it translates SQLite's errors
            open_, self._open, self._load = self._open, ExitStack(), None
            open_.__exit__(type(error), error, error.__traceback__)
            raise

    def _stage(self, block: tuple[int, bytes]) -> None:
        load = self._opened()
        for chunk in peer_readers.read_lines(block):
            load.take(chunk, self._check)

    def _finish(self, key: str | None, fingerprint: bytes) -> dict[str, Any]:
        load = self._opened()
        if (block := self._blocks.end()) is not None:
            self._stage(block)
        self._check()
        load.finish()
        content = self._told.content()
        if key is not None and self._registry is not None:
            kept = Answer(fingerprint, 200, json.dumps(content).encode())
            self._registry.answers.keep(key, kept, by=self._caller.author)
        return content

    def _opened(self) -> imports.Import:
        if self._load is None:
            self._registry = self._open.enter_context(self._registries.use())
            load = self._open.enter_context(self._registry.peers.load(by=self._caller.author, cache=CACHE))
            self._load = imports.Import(load, self._batch, _SOURCE, self._teller, own=self._own(), update=self._update)
        return self._load

    def _check(self) -> None:
        """Raises Problem if the caller's token is no longer valid. Uncommitted peers are then dropped."""
        if not self._caller.is_valid():
            raise over_problem()


class _Told:
    """Collects the results of an import: its counts and its bad lines."""

    def __init__(self, skip: bool, updates: bool) -> None:
        self._skip = skip
        self._updates = updates
        self._counts = {"added": 0, "present": 0, "updated": 0, "refused": 0}
        self._bad: list[dict[str, Any]] = []

    def loaded(self, batch: Loaded) -> None:
        """Count a committed batch. Refused lines are not counted here, because `refused` counted each of them."""
        self._counts["added"] += batch.added
        self._counts["present"] += batch.present
        self._counts["updated"] += batch.updated

    def refused(self, line: int, what: object) -> None:
        """Count a bad line. Raises Problem when there are so many that no more are told, unless they are skipped."""
        self._counts["refused"] += 1
        if len(self._bad) < _TOLD:
            text = what.told if isinstance(what, WgjitError) else str(what)
            self._bad.append({"line": line, "detail": _short(text)})
        if not self._skip and len(self._bad) == _TOLD_AT_ONCE:
            self.settled()

    def settled(self) -> None:
        """Raise the Problem that ends the import if there are bad lines, unless they are skipped."""
        if not self._skip and self._bad:
            raise self._problem([(f"line {each['line']}", each["detail"]) for each in self._bad])

    def unreadable(self, text: str) -> Problem:
        """The problem for a body that cannot be read on."""
        bad = [] if self._skip else [(f"line {each['line']}", each["detail"]) for each in self._bad]
        return self._problem([*bad, ("body", _short(text))])

    def _shown(self) -> dict[str, Any]:
        return {name: count for name, count in self._counts.items() if name != "updated" or self._updates}

    def _problem(self, errors: list[tuple[str, str]]) -> Problem:
        before = self._counts["added"] + self._counts["present"] + self._counts["updated"]
        after = f"{before} peers of the batches before are registered" if before else "nothing was registered"
        (where, text), more = errors[-1 if errors[-1][0] == "body" else 0], len(errors) - 1
        others = f"; {more} more bad lines are in `errors`" if more else ""
        return Problem(Kind.INVALID, f"{where}: {text}{others}; {after}", errors, more=self._shown())

    def content(self) -> dict[str, Any]:
        """The answer's content."""
        return self._shown() | {"bad": self._bad}


def _short(text: str) -> str:
    return text if len(text) <= _DETAIL else f"{text[:_DETAIL]}..."
