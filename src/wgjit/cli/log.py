"""Where commands that serve write their log."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_log(verbose: bool) -> None:
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
