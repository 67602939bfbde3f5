"""The log of the commands that serve, and their line that says that they are ready."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from wgjit import stderr


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Make imports of a package fail as if it were not installed, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # the documented way to make its import fail
    try:
        yield
    finally:
        del sys.modules[package]


# If rich is installed, structlog loads it for tracebacks with local variables. That takes a quarter of a gateway's
# start, and a local variable can be a secret.
with _absent("rich"):
    import structlog


def set_up_log(verbose: bool) -> structlog.typing.FilteringBoundLogger:
    """Log to standard error: text for people on a terminal, key=value elsewhere.

    A log call never raises and never waits. `stderr.lost_lines` counts the lines that could not be written.
    """
    stderr.take_over()
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # names the interface if there are several
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _Rendered(
                structlog.dev.ConsoleRenderer()
                if people
                else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger())


class _Rendered:
    """Makes a log line of an event with `render`, and a short line if `render` fails."""

    def __init__(self, render: structlog.typing.Processor) -> None:
        self._render = render

    def __call__(
        self, logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.ProcessorReturnValue:
        what = event.get("event")
        try:
            return self._render(logger, method, event)
        except Exception as error:
            return f'level={method} event="{what}" unwritable={type(error).__name__}'


def announce(text: str) -> None:
    """Write a line to standard output. A closed standard output does not stop the service."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # otherwise the rest of the buffer would fail again at the process's end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
