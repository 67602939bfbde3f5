"""Work on a thread of its own for the time of a `with`."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """`_run` works until `_done` is set; then `_close` lets go of what it used."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._close()

    @abstractmethod
    def _run(self) -> None:
        """The work."""

    @abstractmethod
    def _close(self) -> None:
        """The thread has ended: close sockets."""
