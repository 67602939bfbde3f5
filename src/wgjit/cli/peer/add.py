"""`wgjit peer add` and `rotate`: register a peer, and give a registered peer a new key."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from wgjit.cli.peer.outlet import Outlet
from wgjit.cli.peer.values import Given, describing
from wgjit.cli.shared.registry import Handle, Json, author, existing, made, on_registry
from wgjit.errors import ConfigError
from wgjit.management import client_config
from wgjit.management.client_config import Server
from wgjit.management.site import Site
from wgjit.model import Peer, PrivateKey
from wgjit.stores import checks
from wgjit.stores.entries import Entry
from wgjit.stores.peer_json import to_fields

PublicKeyOption = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="The client's own public key, base64. Without it, wgjit makes a key pair."),
]
Output = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the client's configuration to this file, mode 0600.")
]
Qr = Annotated[bool, typer.Option("--qr", help="Draw the client's configuration as a QR code.")]
QrFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the QR code to this image file, .png or .svg, mode 0600.")
]


@on_registry
@describing
def add(
    name: Annotated[str, typer.Argument(help="The peer's name, unique in the registry.")],
    public_key: PublicKeyOption = None,
    output: Output = None,
    qr: Qr = False,
    qr_file: QrFile = None,
    as_json: Json = False,
    *,
    given: Given,
    here: Site,
) -> None:
    """Register a peer. Makes the registry file if there is none.

    Without --public-key, wgjit makes a key pair and prints the client's configuration, or writes it as --output, --qr
    and --qr-file say. The configuration holds the private key, which is stored nowhere else.
    """
    pools = [] if "allowed_ips" in given.values else here.pools
    if "allowed_ips" not in given.values and not pools:
        raise ConfigError(f"no address: give --allowed-ips, or set pool.ipv4 or pool.ipv6 in {here.source}")
    private_key, key = client_config.keys(public_key)
    outlet = Outlet(output, qr, qr_file)
    handing = _Handing(outlet, private_key, lambda: client_config.server(here))
    peer = Peer(key, name=name, **given.all_values())
    here.own.check(peer)
    with outlet.undone_on_error(), made(here) as registry:
        peer = registry.peers.hand_out(peer, given.labels, pools, handing.before_commit, by=author())
    handing.tell("added", Entry(peer, given.labels), as_json=as_json)


@on_registry
def rotate(
    handle: Handle,
    public_key: PublicKeyOption = None,
    output: Output = None,
    qr: Qr = False,
    qr_file: QrFile = None,
    as_json: Json = False,
    *,
    here: Site,
) -> None:
    """Replace a peer's key by a new key. Name, addresses, labels and all other values stay.

    Within a second, a gateway refuses the old key and ends its session. The new configuration is printed or written as
    by `peer add`.
    """
    private_key, key = client_config.keys(public_key)
    here.own.check_key(key)
    outlet = Outlet(output, qr, qr_file)
    handing = _Handing(outlet, private_key, lambda: client_config.server(here))
    with outlet.undone_on_error(), existing(here) as registry:
        peer = registry.peers.rotate(registry.peers.resolve(handle), key, handing.before_commit, by=author())
        labels = registry.peers.labels(key)
    handing.tell("rotated", Entry(peer, labels), as_json=as_json)


class _Handing:
    """Composes a client's configuration before the registration is committed, and prints the result after that."""

    def __init__(self, outlet: Outlet, private_key: PrivateKey | None, server: Callable[[], Server]) -> None:
        """Raises ConfigError if a configuration is wanted and cannot be composed."""
        if private_key is None and outlet.wants_code:
            raise ConfigError("--qr, --qr-file: only with a key pair made here; leave --public-key out")
        self._outlet = outlet
        self._private_key = private_key
        self._server = server() if private_key is not None or outlet.is_given else None
        self._text = self._drawing = ""

    def before_commit(self, peer: Peer) -> None:
        if self._server is None:
            return
        self._text = client_config.compose(self._server, peer, self._private_key)
        if self._outlet.qr:
            self._drawing = self._outlet.drawing(self._text)
        self._outlet.write(self._text)

    def tell(self, verb: str, entry: Entry, *, as_json: bool) -> None:
        """Print the result on standard output. If that is the configuration, the sentence goes to standard error."""
        prints = bool(self._text) and not self._outlet.is_given
        if as_json:
            print(json.dumps(to_fields(entry) | ({"config": self._text} if prints else {})))
        else:
            sentence = f"{verb} {checks.label(entry.peer)}"
            if self._private_key is not None:
                sentence += ": " + ", ".join(map(str, entry.peer.allowed_ips))
            print(sentence, file=sys.stderr if prints else sys.stdout)
            if prints:
                print(self._text, end="")
        if self._drawing:
            print(self._drawing, end="", file=sys.stderr if as_json else sys.stdout)
