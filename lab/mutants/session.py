"""The outcomes of a module's breaks, in a file of cosmic-ray's (a WorkDB). A later run goes on where it ended.

A file is of one text of a module: of a changed module a new one is begun. Outcomes are of the tests as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from lab.mutants.breaks import Break, breaks
from lab.mutants.trial import Outcome

_OF = {
    Outcome.NOTICED: (WorkerOutcome.NORMAL, TestOutcome.KILLED),
    Outcome.SURVIVED: (WorkerOutcome.NORMAL, TestOutcome.SURVIVED),
    Outcome.HUNG: (WorkerOutcome.ABNORMAL, TestOutcome.KILLED),
    Outcome.UNREACHED: (WorkerOutcome.NO_TEST, TestOutcome.SURVIVED),
}
SURVIVORS = (Outcome.SURVIVED, Outcome.UNREACHED)
_OUTCOMES = {pair: outcome for outcome, pair in _OF.items()}


class Session:
    """The breaks of one text of a module, and their outcomes so far."""

    def __init__(self, folder: Path, module: str, source: str) -> None:
        name = module.removesuffix(".py").replace("/", ".")
        self.path = folder / f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:8]}.sqlite"
        self._breaks = {f"{one.operator}.{one.occurrence}": one for one in breaks(source)}
        self._db = WorkDB(self.path, WorkDB.Mode.create)
        if not self._db.num_work_items:
            self._db.add_work_items(_items(module, self._breaks))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def all(self) -> list[tuple[Break, Outcome | None]]:
        """All breaks, by line; None: not tried yet."""
        outcomes = {
            job: _OUTCOMES.get((result.worker_outcome, result.test_outcome)) for job, result in list(self._db.results)
        }
        return [(one, outcomes.get(job)) for job, one in self._breaks.items()]

    def untried(self) -> list[Break]:
        """The breaks without an outcome, by line."""
        return [one for one, outcome in self.all() if outcome is None]

    def forget_survivors(self) -> None:
        """Have the survivors tried again."""
        for one, outcome in self.all():
            if outcome in SURVIVORS:
                self._db.set_result(f"{one.operator}.{one.occurrence}", WorkResult(WorkerOutcome.SKIPPED))

    def tried(self, one: Break, outcome: Outcome, diff: str) -> None:
        """Keep the outcome of a break."""
        worker, test = _OF[outcome]
        self._db.set_result(f"{one.operator}.{one.occurrence}", WorkResult(worker, "", test, diff))


def _items(module: str, by_name: dict[str, Break]) -> Iterator[WorkItem]:
    for job, one in by_name.items():
        yield WorkItem.single(job, MutationSpec(Path(module), one.operator, one.occurrence, one.start, one.end))
