"""Where commands that serve write their log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


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
    """Log to standard error: for people on a terminal, key=value elsewhere. The journal adds the time itself."""
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # of several interfaces, which one
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer()
            if people
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger())
