"""`wgjit peer add` and `rotate`: hand a tunnel out, and hand it out anew with another key."""

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
    typer.Option(metavar="KEY", help="The client's own, base64. Without it a key pair is made for the client."),
]
Output = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the client's configuration there, with mode 0600.")
]
Qr = Annotated[bool, typer.Option("--qr", help="Draw the client's configuration as a QR code.")]
QrFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The QR code as an image, .png or .svg, with mode 0600.")
]


@on_registry
@describing
def add(
    name: Annotated[str, typer.Argument(help="A name for people; unique.")],
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

    If a key pair is made for it, the client's configuration is printed, or goes where --output, --qr and --qr-file say.
    It holds the private key, which is kept nowhere else.
    """
    pools = [] if "allowed_ips" in given.values else here.pools
    if "allowed_ips" not in given.values and not pools:
        raise ConfigError(f"no address: give --allowed-ips, or set pool.ipv4 or pool.ipv6 in {here.source}")
    private_key, key = client_config.keys(public_key)
    outlet = Outlet(output, qr, qr_file)
    handing = _Handing(outlet, private_key, lambda: client_config.server(here))
    peer = Peer(key, name=name, **given.all_values())
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
    """Put a new key in the place of a peer's. Name, addresses, labels and all else stay.

    A gateway refuses the old key, and ends its session, within a second. The new configuration goes where that of
    `peer add` goes.
    """
    private_key, key = client_config.keys(public_key)
    outlet = Outlet(output, qr, qr_file)
    handing = _Handing(outlet, private_key, lambda: client_config.server(here))
    with outlet.undone_on_error(), existing(here) as registry:
        peer = registry.peers.rotate(registry.peers.resolve(handle), key, handing.before_commit, by=author())
        labels = registry.peers.labels(key)
    handing.tell("rotated", Entry(peer, labels), as_json=as_json)


class _Handing:
    """Composes a client's configuration while its registration can still be undone, and tells it once it counts."""

    def __init__(self, outlet: Outlet, private_key: PrivateKey | None, server: Callable[[], Server]) -> None:
        """Raises ConfigError if the configuration is wanted and cannot be composed."""
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
        """The result on standard output; if that is the configuration itself, the sentence goes beside it."""
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
