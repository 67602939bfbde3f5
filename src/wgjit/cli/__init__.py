"""The command `wgjit`: one module per command group.

| module     | commands                                                                   |
| ---------- | -------------------------------------------------------------------------- |
| `adopt`    | `adopt`: register the peers of an interface that holds all of them         |
| `api`      | `api`: serve the registry over HTTP                                        |
| `audit`    | `audit list`, `prune`: who changed what                                    |
| `claim`    | `claim show`, `reset`: a peer's last proof                                 |
| `config`   | `config check`, `show`: settings, before a gateway reads them              |
| `decode`   | `decode`: the initiations in a capture file, or one message, offline       |
| `doctor`   | `doctor`: what this machine can do, and which delivery follows from it     |
| `feed`     | `feed`: every initiation that an interface receives, live                  |
| `gateway`  | `status`, `health`, `drain`, `undrain`: a running gateway                  |
| `gateways` | `gateways list`, `forget`: the gateways that share a registry               |
| `peer`     | `peer add`, `list`, `find`, `set`, `rotate`, `remove`, `import`, `export`, |
|            | `enable`, `disable`, `show`, `where`                                       |
| `registry` | `registry init`, `migrate`, `copy`: makes, migrates and copies registries  |
| `release`  | `release`: the way back; installs all registered peers for good            |
| `token`    | `token create`, `list`, `revoke`: tokens of the HTTP API                   |
| `up`       | `up`: run the gateway on an interface                                      |

Besides these, the package `shared` holds what several commands share.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wgjit import stderr
from wgjit.errors import WgjitError


@contextmanager
def _loading() -> Iterator[None]:
    """Load modules without two searches that only make the start slower.

    The first is a garbage collection among objects that stay anyway. The second is pydantic's search for plugins in all
    packages; such plugins must not run in a process that holds a private key.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _health(interfaces: list[str]) -> None:
    """`wgjit health` without options, and without typer: keepalived starts this each second."""
    from wgjit.control import asking

    if len(interfaces) < 2:
        sys.exit(asking.report(*interfaces))


def main() -> None:
    """Entry point of the console script. A WgjitError becomes one line on standard error and exit status 1."""
    stderr.hold_places()
    try:
        if sys.argv[1:2] == ["health"] and not any(word.startswith("-") for word in sys.argv[2:]):
            _health(sys.argv[2:])
        with _loading():
            from wgjit.cli.shared.application import PLACES, command_line

            is_version = sys.argv[1:] == ["--version"]  # needs no command; the lightest one makes it quick
            app = command_line(*(("claim",) if is_version else (name for name in sys.argv[1:2] if name in PLACES)))
        app()
    except WgjitError as error:
        with suppress(OSError):  # standard error may be closed; the exit status still tells
            print(f"wgjit: {error}", file=sys.stderr)
        sys.exit(1)
