"""Quick trials: all tests are collected once, and each break is put into functions that are loaded already.

A trial is a fork of the process that has collected the tests. It replaces the code of the broken function, runs the
tests that execute the line, and ends: 10 ms and what the tests take, instead of seconds of imports. This does not do
for a break of what runs at the import (a constant, a default, a decorator): such a break takes a trial of
`trial.Bench`. Programs that a test starts do not have the break, nor has what was computed when tests were collected.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from lab.mutants.trial import PATIENCE, Outcome, wait


class Warm:
    """A plugin of pytest. Once the tests are collected, it calls `work` instead of running them."""

    def __init__(self, source: Path, work: Callable[[Warm], None]) -> None:
        """`source`: the folder of the package that is imported."""
        self._source = source
        self._work = work
        self._items: dict[str, pytest.Item] = {}
        self._functions: dict[tuple[str, str], list[FunctionType]] = defaultdict(list)
        self._session: pytest.Session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._session = session
        self._items = {item.nodeid: item for item in session.items}
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(self._source)):
                self._functions[each.__code__.co_filename, each.__code__.co_qualname].append(each)
        gc.freeze()
        self._work(self)
        return True

    def trial(self, module: str, source: str, text: str, tests: Sequence[str], seconds: float) -> Outcome | None:
        """The outcome of the module's text instead of its source; None if the break needs an import."""
        if not tests:
            return Outcome.UNREACHED
        changes = self._changes(str(self._source / module), source, text)
        if changes is None:
            return None
        process = os.fork()
        if not process:
            os._exit(self._run(changes, tests))
        status = wait(process, PATIENCE + 10 * seconds)
        if status is None:
            return Outcome.HUNG
        return Outcome.NOTICED if status else Outcome.SURVIVED

    def _changes(self, file: str, source: str, text: str) -> list[tuple[FunctionType, CodeType]] | None:
        before, after = compile(source, file, "exec"), _compiled(text, file)
        if after is None or not _same_import(before, after):
            return None
        changes: list[tuple[FunctionType, CodeType]] = []
        for old, new in zip(_functions_of(before), _functions_of(after), strict=True):
            if _same(old, new):
                continue
            found = [one for one in self._functions[file, old.co_qualname] if _same(one.__code__, old)]
            if not found or new.co_freevars != old.co_freevars:
                return None
            changes += [(one, new) for one in found]
        return changes

    def _run(self, changes: list[tuple[FunctionType, CodeType]], tests: Sequence[str]) -> int:
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nothing, number)
            for function, code in changes:
                function.__code__ = code
            items = [self._items[test] for test in tests if test in self._items]
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self._session.testsfailed:
                    return 1
        except BaseException:
            return 1
        return 0


def _compiled(text: str, file: str) -> CodeType | None:
    try:
        return compile(text, file, "exec", dont_inherit=True)
    except SyntaxError:
        return None


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (const for const in code.co_consts if isinstance(const, CodeType))


def _functions_of(code: CodeType) -> Iterator[CodeType]:
    """The functions of a module's or a class's body, and of the classes in it."""
    for inner in _inner(code):
        if inner.co_flags & inspect.CO_OPTIMIZED:
            yield inner
        else:
            yield from _functions_of(inner)


def _same(one: CodeType, other: CodeType) -> bool:
    """Whether both do the same, wherever they stand."""
    return _plain(one) == _plain(other) and all(map(_same, _inner(one), _inner(other)))


def _plain(code: CodeType) -> tuple[object, ...]:
    consts = [repr(const) for const in code.co_consts if not isinstance(const, CodeType)]
    return code.co_code, consts, code.co_names, code.co_varnames, code.co_freevars, len(list(_inner(code)))


def _same_import(one: CodeType, other: CodeType) -> bool:
    """Whether a module or a class is the same but for the bodies of its functions."""
    if _plain(one) != _plain(other):
        return False
    return all(
        bool(a.co_flags & inspect.CO_OPTIMIZED) == bool(b.co_flags & inspect.CO_OPTIMIZED)
        and (bool(a.co_flags & inspect.CO_OPTIMIZED) or _same_import(a, b))
        for a, b in zip(_inner(one), _inner(other), strict=True)
    )
