"""The command `wgjit`: one module per command group.

| module     | commands                                                                |
| ---------- | ----------------------------------------------------------------------- |
| `decode`   | `decode`: initiations out of a capture file or one message, offline     |
| `doctor`   | `doctor`: what this machine can do, and which delivery follows from it  |
| `feed`     | `feed`: every initiation seen, live                                     |
| `peer`     | `peer add`, `list`, `show`, `enable`, `disable`, `remove`, `import`     |
| `status`   | `status`: a running gateway's residents and counters                    |
| `up`       | `up`: run the gateway on an interface                                   |
"""

from __future__ import annotations

import sys

import typer

from wgjit.cli import peer
from wgjit.cli.decode import decode
from wgjit.cli.doctor import doctor
from wgjit.cli.feed import feed
from wgjit.cli.status import status
from wgjit.cli.up import up
from wgjit.errors import WgjitError

app = typer.Typer(
    name="wgjit",
    help="Just-in-time WireGuard peers: install a peer when its client knocks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its frames print local variables, and a local variable can be a secret
    add_completion=True,
)


@app.callback()
def _root() -> None:
    """Keeps the commands a group, also while there is a single one."""


app.command()(decode)
app.command()(up)
app.command()(feed)
app.command()(status)
app.command()(doctor)
app.add_typer(peer.app)


def main() -> None:
    """Entry point of the console script: an error made on purpose is one line and exit status 1."""
    try:
        app()
    except WgjitError as error:
        print(f"wgjit: {error}", file=sys.stderr)
        sys.exit(1)
