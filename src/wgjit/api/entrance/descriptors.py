"""How many files this process may have open, and who gets how many of them.

The limit is raised as far as the process may raise it. What the registry, streams, imports and the Unix socket can need
is kept back, and TCP gets what is left: so no crowd on TCP leaves the Unix socket without a descriptor.
"""

from __future__ import annotations

import resource
from contextlib import suppress

from wgjit.errors import ConfigError

WANTED = 8192
"""Open files beyond which more would be of no use."""

MOST_TCP = 1024
"""TCP connections at most, however many files may be open: what they take of memory is bounded by it."""

MOST_UNIX = 256
"""Connections on the Unix socket."""

LEAST_TCP = 32
"""With fewer it is better not to start."""

_BASE = 64
"""Standard streams, the event loop, listeners, certificates, libraries."""

_OF_REGISTRY = 8
"""Of one open registry: two or three connections, each with its journal."""

_OF_IMPORT = 16
"""Of one import: connections of its own, and files that it stages and sorts in."""


def raise_limit() -> int:
    """Raise the limit of open files as far as may be and is wanted; gives what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it: then what there is has to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft


def tcp_connections(limit: int, threads: int, imports: int, streams: int) -> int:
    """How many TCP connections fit beside all else within a limit of open files.

    `threads`: how many may have a registry open at once. A stream may ask the gateway, by a connection of its own.
    Raises ConfigError if next to none fit.
    """
    kept = _BASE + MOST_UNIX + threads * _OF_REGISTRY + imports * _OF_IMPORT + streams
    if limit - kept < LEAST_TCP:
        raise ConfigError(
            f"api.listen: {limit} open files are too few for TCP; allow {kept + LEAST_TCP} at least "
            "(LimitNOFILE= of the service, ulimit -n)"
        )
    return min(MOST_TCP, limit - kept)
