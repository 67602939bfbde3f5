"""Where commands that serve write their log, and that they are ready."""

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
    """Let imports believe that a package is not installed, if nobody has loaded it yet."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # the documented way to make its import fail
    try:
        yield
    finally:
        del sys.modules[package]


# structlog loads rich, if there is one, for tracebacks with local variables: a quarter of a gateway's start, and a
# local variable can be a secret.
with _absent("rich"):
    import structlog


def set_up_log(verbose: bool) -> structlog.typing.FilteringBoundLogger:
    """Log to standard error: for people on a terminal, key=value elsewhere. The journal adds the time itself.

    What is logged never raises and never waits; `stderr.lost_lines` counts what could not be written.
    """
    stderr.take_over()
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # of several interfaces, which one
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
    """Makes a line of an event by another's means, and also of one that those cannot write."""

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
    """Write a line to standard output. That nobody reads it is no reason not to serve."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # what is left in the buffer would fail again when the process ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
