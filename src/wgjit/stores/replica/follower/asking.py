"""Asks the registry of record for single keys that the replica does not have: the server near by, then the primary.

A thread for each server asks for all keys that wait, in one statement. What is found goes into the replica, too. A key
for which the server near by gives no answer in time goes to the primary.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode

from wgjit.errors import StoreError
from wgjit.model import PublicKey, Registration, Removed
from wgjit.stores.replica import messages
from wgjit.stores.replica.follower import file as rows
from wgjit.stores.replica.follower import reading
from wgjit.stores.replica.follower.file import File
from wgjit.stores.replica.follower.report import Report
from wgjit.stores.replica.follower.servers import Server

PATIENCE = 0.15
"""Seconds after which the primary is asked, too, if the server near by has not answered."""

FORGOTTEN = 5.0
"""Seconds after which nobody waits for an answer any more."""


class Asking:
    """See the head of this file."""

    def __init__(self, file: File, read: Server, primary: Server, report: Report) -> None:
        self._file = file
        self._read = read
        self._primary = primary
        self._report = report
        self._changed = threading.Condition()
        self._near: dict[PublicKey, float] = {}
        """Keys that wait for the server near by, with the moment since which they do."""
        self._far: dict[PublicKey, float] = {}
        """Keys that wait for the primary."""
        self._asked: dict[PublicKey, float] = {}
        """Keys that the server near by was just asked for."""

    def start(self) -> None:
        """Start the threads."""
        if self._read is not self._primary:
            threading.Thread(target=self._run_near, name="ask near", daemon=True).start()
        threading.Thread(target=self._run_far, name="ask primary", daemon=True).start()

    def ask(self, key: PublicKey) -> None:
        """Answer for this key as soon as a server has."""
        with self._changed:
            waiting = self._far if self._read is self._primary else self._near
            waiting[key] = time.monotonic()
            self._changed.notify_all()

    def _run_near(self) -> None:
        while True:
            with self._changed:
                while not self._near:
                    self._changed.wait()
                self._asked, self._near = self._near, {}
                keys = list(self._asked)
            found: dict[PublicKey, Registration | Removed] = {}
            try:
                with self._read.look() as (db, _):
                    found = reading.lookup(db, keys)
            except StoreError:
                pass
            with self._changed:
                mine = [key for key in keys if key in self._asked]  # the others were given to the primary
                self._far.update((key, self._asked[key]) for key in mine if key not in found)
                self._asked = {}
                self._changed.notify_all()
            self._answer({key: found[key] for key in mine if key in found})

    def _run_far(self) -> None:
        while True:
            with self._changed:
                self._take_overdue()
                while not self._far:
                    self._changed.wait(PATIENCE / 3 if self._near or self._asked else None)
                    self._take_overdue()
                waiting, self._far = self._far, {}
            keys = [key for key, since in waiting.items() if time.monotonic() - since < FORGOTTEN]
            try:
                with self._primary.look() as (db, _):
                    found = reading.lookup(db, keys)
            except StoreError as error:
                for key in keys:
                    self._report.answer({"answer": _text(key), "trouble": error.told})
                continue
            self._answer({key: found.get(key) for key in keys})

    def _take_overdue(self) -> None:
        before = time.monotonic() - PATIENCE
        for waiting in (self._near, self._asked):
            for key in [key for key, since in waiting.items() if since <= before]:
                self._far[key] = waiting.pop(key)

    def _answer(self, found: dict[PublicKey, Registration | Removed | None]) -> None:
        for key, each in found.items():
            self._report.answer({"answer": _text(key), **messages.pack_answer(each)})
        here = {key: each for key, each in found.items() if each is not None}
        if here:
            try:
                with self._file.writing() as db:
                    for key, each in here.items():
                        rows.put_found(self._file, db, key, each)
            except StoreError as error:
                self._report.set(trouble=error.told)


def _text(key: PublicKey) -> str:
    return b64encode(key).decode()
