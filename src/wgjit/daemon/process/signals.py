"""Signals of a daemon: what each of them does, and a line in the log for those that do nothing.

| signal           | what happens                                                                                  |
| ---------------- | --------------------------------------------------------------------------------------------- |
| SIGTERM          | the daemon ends; a gateway of a fleet may drain first (`leaving/ending.py`)                   |
| SIGINT           | the daemon ends at once                                                                       |
| SIGHUP           | a daemon on a terminal ends, since the terminal is gone; any other goes on, and says so       |
| SIGUSR1, SIGUSR2 | the daemon goes on, and says so                                                               |

Without a handler, the last three would kill the process: rules and control socket would stay, and claims of the last
quarter of a second would be lost. Settings are not read again while a gateway runs: a restart does that, and sessions
stay.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

import structlog

log = structlog.get_logger()


def on_a_terminal() -> bool:
    """Whether this process was started by hand: its standard input is a terminal."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # it was closed
        return False


def handle_signals(
    loop: asyncio.AbstractEventLoop, asked: Callable[[], None], stop: Callable[[], None], *, terminal: bool
) -> None:
    """Handle all signals of the table above. `asked`: somebody wants the daemon to end. `stop`: it is to end at once.

    `terminal`: the daemon is on a terminal. A signal that was ignored before (by nohup) stays so.
    """
    loop.add_signal_handler(signal.SIGTERM, asked)
    loop.add_signal_handler(signal.SIGINT, stop)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        if number is signal.SIGHUP and terminal:
            loop.add_signal_handler(number, asked)
        else:
            loop.add_signal_handler(number, _go_on, number)


def _go_on(number: signal.Signals) -> None:
    log.warning(
        "this signal does nothing: a gateway reads its settings at its start only",
        signal=number.name,
        do="restart it to read them again (systemctl restart wgjit@INTERFACE): sessions stay",
    )
