"""Which server is read: the one near by, as long as it answers and is not far behind the primary; else the primary.

A thread tries the server near by again, so that nothing else has to wait for it.
"""

from __future__ import annotations

import threading

from wgjit.errors import StoreError
from wgjit.stores.replica.follower import reading
from wgjit.stores.replica.follower.reading import State
from wgjit.stores.replica.follower.servers import Server

QUIET = 2.5
"""Seconds for which a standby that is not behind may have nothing to repeat: gateways beat every two seconds."""

FAR = 5.0
"""Seconds by which a standby may be behind before the primary is read."""

AGAIN = 3.0
"""Seconds between two tries of a server that is not read."""


def behind(said: State) -> float:
    """Seconds by which a server is behind the primary, by what it says."""
    return 0.0 if said.replayed is None else max(0.0, said.replayed - QUIET)


class Sources:
    """See the head of this file. Without a server near by, the primary is both."""

    def __init__(self, read: Server, primary: Server) -> None:
        self.read = read
        self.primary = primary
        self.is_near = read is not primary
        """Whether the server near by is read."""
        self._away = threading.Event()

    def start(self) -> None:
        """Start the thread, if there is something to try."""
        if self.read is not self.primary:
            threading.Thread(target=self._run, name="try near", daemon=True).start()

    def pick(self) -> Server:
        """The server to read."""
        return self.read if self.is_near else self.primary

    def leave(self) -> None:
        """The server near by does not answer, or is far behind."""
        if self.read is not self.primary:
            self.is_near = False
            self._away.set()

    def _run(self) -> None:
        while True:
            self._away.wait()
            threading.Event().wait(AGAIN)
            try:
                with self.read.view() as (db, _):
                    said = reading.state(db)
            except StoreError:
                continue
            if behind(said) <= FAR:
                self._away.clear()
                self.is_near = True
