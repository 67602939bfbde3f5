"""The limit of this process's open files, and how the files are divided.

The limit is raised as far as the process may raise it. Descriptors for the registry, streams, imports and the Unix
socket are kept back, and TCP gets the rest. So even a flood on TCP leaves descriptors for the Unix socket.
"""

from __future__ import annotations

import resource
from contextlib import suppress

from wgjit.errors import ConfigError

WANTED = 8192
"""The wanted limit of open files. A higher limit would be of no use."""

MOST_TCP = 1024
"""TCP connections at most, even if more files may be open. This bounds the memory that connections take."""

MOST_UNIX = 256
"""Connections on the Unix socket."""

LEAST_TCP = 32
"""TCP connections at least. With fewer, the API does not start."""

_BASE = 64
"""Files of standard streams, the event loop, listeners, certificates and libraries."""

_OF_REGISTRY = 8
"""Files of one open registry: two or three connections, each with its journal."""

_OF_IMPORT = 16
"""Files of one import: its own connections, and temporary files for staging and sorting."""


def raise_limit() -> int:
    """Raise the limit of open files towards WANTED, as far as the process may. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a sandbox may forbid it; then the old limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft


def tcp_connections(limit: int, threads: int, imports: int, streams: int) -> int:
    """How many TCP connections fit into a limit of open files, besides all other files.

    `threads` is the number of threads that may have a registry open at once. A stream may have a connection of its own
    to the gateway. Raises ConfigError if fewer than LEAST_TCP fit.
    """
    kept = _BASE + MOST_UNIX + threads * _OF_REGISTRY + imports * _OF_IMPORT + streams
    if limit - kept < LEAST_TCP:
        raise ConfigError(
            f"api.listen: {limit} open files are too few for TCP; allow {kept + LEAST_TCP} at least "
            "(LimitNOFILE= of the service, ulimit -n)"
        )
    return min(MOST_TCP, limit - kept)
