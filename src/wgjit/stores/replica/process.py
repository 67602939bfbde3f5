"""The follower as its gateway sees it: a process that is started, started again when it dies, told, asked, and ended.

A thread reads what the follower says. Nothing here waits for the follower, but for `ask` and `close`. If the follower
does not read, what is said to it is dropped: everything that counts is in the file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wgjit.errors import StoreDeferred, StoreUnreachable
from wgjit.model import PublicKey, Registration, Removed
from wgjit.stores.replica import messages
from wgjit.stores.replica.messages import Terms

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before a dead follower is started again; it doubles from one to the other."""

SETTLED = 30.0
"""Seconds of life after which a follower counts as healthy: the next pause is the first one again."""

ENDING = 4.0
"""Seconds for the follower's end, in which it says the last of what it has to say."""

MOST_ASKS = 256
"""Keys that are asked for at a time."""

_QUIET = frozenset({"fresh_at", "lag", "outbox", "copied", "said", "lost", "clock_offset"})
"""Values of the status that change all the time."""

COMMAND = (sys.executable, "-P", "-m", "wgjit.stores.replica.follower")
"""-P: the working directory may belong to others, and must not be looked through for modules."""


class _Ask:
    """A key that is asked for, by one thread or several."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.said: dict[str, Any] | None = None


class Follower:
    """The follower of the replica `path`. Any thread may call anything."""

    def __init__(self, path: Path, terms: Terms) -> None:
        self._path = path
        self._terms = terms
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._asks: dict[PublicKey, _Ask] = {}
        self._state: dict[str, Any] = {}
        self._told = threading.Condition()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._facts: dict[str, Any] = {"residents": 0, "draining": False}
        self._asked = 0
        self._deaths = 0
        self._died: str | None = None
        self.on_news: Callable[[], None] | None = None
        """Called on this module's thread when there is news."""

    # --- its life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and go on to do so until `close`."""
        self._thread = threading.Thread(target=self._run, name="wgjit-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, once it has said the last. Waits a few seconds at most. A second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        with self._lock:
            if self._link is not None and not messages.send(self._link, {"stop": True}):
                self._kill()
        if self._thread is not None:
            self._thread.join(ENDING)
            with self._lock:
                self._kill()
            self._thread.join()
        with self._lock:
            event, self._event = self._event, -1
        os.close(event)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._start()
                self._listen()
            except OSError as error:
                self._died = f"cannot be started: {error.strerror}"
            self._reap()
            if self._closing.is_set():
                return
            self._deaths += 1
            self._tell()
            pause = FIRST_PAUSE if time.monotonic() - began > SETTLED else min(2 * pause, LONGEST_PAUSE)
            self._closing.wait(pause)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * messages.MOST)
        # The settings may hold a password as a variable. The URL goes over the socket, which only the two have.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WGJIT_")}
        try:
            process = subprocess.Popen(
                list(COMMAND),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        with self._lock:
            self._link, self._process = ours, process
            messages.send(ours, self._terms.packed(self._path))
            messages.send(ours, {"facts": self._facts})
            messages.send(ours, {"nudge": True})
            if self._closing.is_set():
                messages.send(ours, {"stop": True})

    def _listen(self) -> None:
        link = self._link
        assert link is not None
        while (message := messages.receive(link)) is not None:
            if "status" in message:
                self._take_status(message["status"])
            elif "news" in message:
                self._tell()
            elif "answer" in message:
                key = PublicKey(b64decode(message["answer"]))
                with self._lock:
                    ask = self._asks.pop(key, None)
                if ask is not None:
                    ask.said = message
                    ask.done.set()

    def _reap(self) -> None:
        with self._lock:
            link, self._link = self._link, None
            process, self._process = self._process, None
            asks, self._asks = self._asks, {}
        if link is not None:
            link.close()
        for ask in asks.values():
            ask.done.set()
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING)  # its socket is closed, so it is ending
            if process.poll() is None:
                process.kill()
                process.wait()
            self._died = f"ended with status {process.returncode}"
        with self._told:
            self._state = {name: self._state[name] for name in ("fresh_at", "complete", "fatal") if name in self._state}
            self._told.notify_all()

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    # --- what it says -----------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that can be read when there is news. `read` makes it silent again."""
        return self._event

    def read(self) -> bool:
        """Whether there is news since the last call: rows in the file, or something in the status."""
        try:
            return os.eventfd_read(self._event) > 0
        except BlockingIOError:
            return False

    def status(self) -> dict[str, Any]:
        """What it said of itself last, with its deaths."""
        with self._told:
            state = dict(self._state)
        process = self._process
        return {
            **state,
            "pid": None if process is None else process.pid,
            "asked": self._asked,
            "restarts": self._deaths,
            "last_end": self._died,
        }

    def value(self, name: str) -> Any:
        """One value of the status; None if it has none."""
        return self._state.get(name)

    def wait_for(self, fits: Callable[[dict[str, Any]], bool], seconds: float) -> bool:
        """Wait until the status fits. Returns False if it does not within so many seconds."""
        with self._told:
            return self._told.wait_for(lambda: fits(self._state), seconds)

    def _take_status(self, state: dict[str, Any]) -> None:
        with self._told:
            before, self._state = self._state, state
            self._told.notify_all()
        if any(before.get(name) != value for name, value in state.items() if name not in _QUIET):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            if self._event >= 0:
                os.eventfd_write(self._event, 1)
        if (call := self.on_news) is not None and not self._closing.is_set():
            call()

    # --- what is said to it -----------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Say that there is something to send."""
        self._say({"nudge": True})

    def file_fails(self, file: tuple[int, int]) -> None:
        """Say that the replica's file, by device and inode, is damaged or gone."""
        self._say({"fails": list(file)})

    def want(self) -> None:
        """Ask it to leave the file alone for a moment, since this process wants to write."""
        self._say({"want": True})

    def set_facts(self, **facts: int | bool) -> None:
        """Have these values in the gateway's next heartbeats: `residents`, `draining`. A change of the latter is told
        at once."""
        with self._lock:
            changed = {**self._facts, **facts}
            if changed == self._facts:
                return
            self._facts = changed
        self._say({"facts": changed})

    def ask(self, key: PublicKey, seconds: float) -> Registration | Removed | None:
        """Ask the registry of record for a key. Raises StoreDeferred, StoreError without an answer."""
        with self._lock:
            ask = self._asks.get(key)
            if ask is None:
                if len(self._asks) >= MOST_ASKS:
                    raise StoreDeferred("registry: too many keys are being asked for; ask again later")
                ask = self._asks[key] = _Ask()
                self._asked += 1
                text = b64encode(key).decode()
                if self._link is None or not messages.send(self._link, {"ask": text}):
                    del self._asks[key]
                    raise StoreUnreachable("registry: the follower does not answer")
        ask.done.wait(seconds)
        if ask.said is None:
            with self._lock:
                if self._asks.get(key) is ask:
                    del self._asks[key]
            raise StoreUnreachable(f"registry: no answer for a key within {seconds:g} s")
        return messages.unpack_answer(key, ask.said)

    def _say(self, message: dict[str, Any]) -> None:
        with self._lock:
            if self._link is not None:
                messages.send(self._link, message)
