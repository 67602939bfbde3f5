"""`wgjit-load`: make clients' keys, and let these clients connect to a WireGuard server. docs/LOAD.md.

It sends to the address that it is given and nowhere else; to one of the public internet only if that is said twice.
Exit status: 0 if all came up, 1 if some were lost, 2 if it was asked for something that cannot be.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.load.client import Client, Identity
from bench.load.engine import REKEY_ATTEMPT_TIME, Load
from bench.load.identities import fresh, load, save, save_registrations
from bench.load.result import lines
from bench.load.sockets import Prefix, close, open_sockets, source
from lab.echo import Address
from wgjit.errors import InvalidValue
from wgjit.model import Endpoint, PublicKey

MOST: Final = 1 << 20
"""Clients of one process: so many session indices tell them apart, and so many peers has a kernel's interface."""
PUBLIC: Final = "--public-server-is-mine"


class Unusable(Exception):
    """What was asked for cannot be; the text names the option."""


def main(words: Sequence[str] | None = None) -> int:
    """The command; gives its exit status."""
    options = _parser().parse_args(words)
    try:
        return int(options.run(options))
    except (Unusable, InvalidValue) as error:
        print(f"wgjit-load: {error}", file=sys.stderr)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        print(f"wgjit-load: {named}{error.strerror or error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wgjit-load", description="Thousands of WireGuard clients in one process, to load a server of yours with."
    )
    verbs = parser.add_subparsers(required=True, metavar="keys | run")
    keys = verbs.add_parser("keys", help="make clients: their private keys, and what a registry imports")
    keys.set_defaults(run=_keys)
    keys.add_argument("count", type=_count, metavar="COUNT", help="how many")
    keys.add_argument("--prefix", type=_prefix, required=True, help="inside the tunnel: one address for each client")
    keys.add_argument("--skip", type=_natural, default=1, help="first addresses that are not given (1: the gateway's)")
    keys.add_argument("--preshared", action="store_true", help="a preshared key for each, too")
    keys.add_argument("--clients", type=Path, required=True, metavar="FILE", help="private keys; must not exist yet")
    keys.add_argument("--peers", type=Path, required=True, metavar="FILE", help="for `wgjit peer import`; as well")

    run = verbs.add_parser("run", help="let them connect")
    run.set_defaults(run=_run)
    run.add_argument("--server", type=_endpoint, required=True, metavar="ADDRESS:PORT", help="[...]: for IPv6")
    run.add_argument("--public-key", type=_key, required=True, metavar="KEY", help="the server's")
    run.add_argument("--clients", type=Path, required=True, metavar="FILE", help="what `keys` wrote")
    run.add_argument("--count", type=_count, help="only so many of them, from the first on")
    when = run.add_mutually_exclusive_group(required=True)
    when.add_argument(
        "--rate", type=_positive, metavar="N", help="so many begin each second, whatever became of others"
    )
    when.add_argument("--at-once", action="store_true", help="all begin at the same moment")
    how = run.add_mutually_exclusive_group(required=True)
    how.add_argument("--inside", type=_address, metavar="ADDRESS", help="the server's in the tunnel: it answers pings")
    how.add_argument("--no-verify", action="store_true", help="up is whose response opened, without a ping")
    run.add_argument("--source", type=_prefix, metavar="PREFIX", help="an address of this for each client to send from")
    run.add_argument("--patience", type=_positive, default=REKEY_ATTEMPT_TIME, help="seconds of a connect (default 90)")
    run.add_argument("--rekey-every", type=_positive, metavar="S", help="who came up connects anew after S seconds")
    run.add_argument("--seconds", type=_positive, help="how long clients begin to rekey, from the start")
    run.add_argument("--json", action="store_true", help="the result as one JSON object")
    run.add_argument(PUBLIC, action="store_true", dest="public", help="allow an address of the public internet")
    return parser


# --- values ---------------------------------------------------------------------------------------------------------


def _read(what: str, check: Callable[[str], bool], make: Callable[[str], float]) -> Callable[[str], float]:
    """A reader of numbers that says what it wants."""

    def read(text: str) -> float:
        try:
            if check(text):
                return make(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r}: must be {what}")

    return read


_count = _read(f"a whole number from 1 to {MOST:,}", lambda text: 1 <= int(text) <= MOST, int)
_natural = _read("a whole number from 0", lambda text: int(text) >= 0, int)
_positive = _read("a number above 0", lambda text: 0 < float(text) < math.inf, float)


def _prefix(text: str) -> Prefix:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be an IP address") from None


def _endpoint(text: str) -> Endpoint:
    try:
        return Endpoint.parse(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _key(text: str) -> PublicKey:
    try:
        return PublicKey.parse(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# --- verbs ----------------------------------------------------------------------------------------------------------


def _keys(options: argparse.Namespace) -> int:
    for name in ("clients", "peers"):  # before either is written: a half would be of no use
        if getattr(options, name).exists():
            raise Unusable(f"--{name} {getattr(options, name)}: exists, and is not overwritten")
    if options.clients == options.peers:
        raise Unusable("--clients and --peers: must be two files")
    try:
        made = fresh(options.count, options.prefix, preshared=options.preshared, skip=options.skip)
    except ValueError as error:
        raise Unusable(f"--prefix {error}") from None
    save(made, options.clients)
    save_registrations(made, options.peers)
    print(f"{len(made):,} clients: {options.clients} (private keys), {options.peers} (for `wgjit peer import`)")
    return 0


def check_server(server: Endpoint, *, public: bool) -> None:
    """Raises Unusable for an address that no load may go to: of a group, of nobody, of strangers unless `public`."""
    address = ipaddress.ip_address(server.address)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise Unusable(f"--server {server}: write it as IPv4, {address.ipv4_mapped}:{server.port}")
    if server.scope:
        raise Unusable(f"--server {server}: link-local addresses are not supported")
    if address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255"):
        raise Unusable(f"--server {server}: is not the address of one server")
    if not server.port:
        raise Unusable(f"--server {server}: the port must be from 1 to 65535")
    if address.is_global and not public:
        raise Unusable(f"--server {server}: is a public address; load no server but your own, and then say {PUBLIC}")


def _clients(options: argparse.Namespace) -> list[Identity]:
    found = list(load(options.clients))
    if not found:
        raise Unusable(f"--clients {options.clients}: has no clients")
    if options.count and options.count > len(found):
        raise Unusable(f"--count {options.count}: {options.clients} has {len(found)} clients")
    found = found[: options.count]
    if options.inside:
        for number, each in enumerate(found, 1):
            if each.address.version != options.inside.version:
                other = f"client {number} has {each.address}"
                raise Unusable(f"--inside {options.inside}: {other}; both must be IPv4, or both IPv6")
    return found


def _run(options: argparse.Namespace) -> int:
    check_server(options.server, public=options.public)
    if (options.rekey_every is None) != (options.seconds is None):
        raise Unusable("--rekey-every and --seconds: give both or none")
    identities = _clients(options)
    if options.source is not None:
        try:  # the last one's address shows whether there are enough
            source(options.source, len(identities) - 1)
        except ValueError as error:
            raise Unusable(f"--source {error}") from None
        if (options.source.version == 4) != (len(options.server.address) == 4):
            raise Unusable(f"--source {options.source}: the server {options.server} is of the other address family")
    verify = not options.no_verify
    try:
        clients = [
            Client(number, each, options.public_key, options.inside, verify=verify)
            for number, each in enumerate(identities)
        ]
    except InvalidValue as error:
        raise Unusable(f"--public-key: {error}") from None
    try:
        sockets = open_sockets(len(clients), options.server, options.source)
    except OSError as error:
        if options.source is None or error.strerror is None:
            raise
        hint = f"is it this machine's? `ip route add local {options.source} dev lo` makes it"
        raise Unusable(f"--source {options.source}: {error.strerror}; {hint}") from None
    try:
        engine = Load(clients, sockets, options.server, verify=verify, strict=True)
        engine.prepare()
        starts = [0.0 if options.at_once else number / options.rate for number in range(len(clients))]
        result = engine.run(
            starts, patience=options.patience, rekey_every=options.rekey_every, seconds=options.seconds or 0.0
        )
    finally:
        close(sockets)
    print(result.to_json() if options.json else "\n".join(lines(result)))
    return 1 if result.lost else 0
