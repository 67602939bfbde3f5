"""`wgjit peer`: register peers, look at them, switch them off, remove them.

These commands work on the registry file alone, with or without a running gateway; a gateway sees their changes within
a second. A HANDLE is a peer's name or its public key. A preshared key is read from a file and never shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from wgjit.cli.wg_config import read_peers
from wgjit.errors import ConfigError, InvalidValue, PeerRefused
from wgjit.model import Claim, Peer, PresharedKey, PublicKey, parse_allowed_ip
from wgjit.stores import checks
from wgjit.stores.sqlite import SqliteRegistry

app = typer.Typer(name="peer", help="Register, show, switch off and remove peers.", no_args_is_help=True)

DEFAULT_STORE = Path("/var/lib/wgjit/wg0.db")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

Store = Annotated[Path, typer.Option("--store", envvar="WGJIT_STORE", help="The registry file.")]
Handle = Annotated[str, typer.Argument(metavar="HANDLE", help="A peer's name or public key.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A name for people; unique.")],
    public_key: Annotated[str, typer.Option(metavar="KEY", help="Base64, as `wg pubkey` prints it.")],
    allowed_ips: Annotated[
        list[str], typer.Option(metavar="PREFIXES", help="Its addresses inside the tunnel, comma-separated.")
    ],
    preshared_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file with its preshared key; - is standard input.")
    ] = None,
    keepalive: Annotated[int, typer.Option(metavar="SECONDS", help="Keepalive that the gateway sends; 0 is off.")] = 0,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="2027-01-31, 2027-01-31T12:00:00Z, or from now: +30d, +12h.")
    ] = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Register a peer. Makes the registry file if there is none."""
    peer = Peer(
        PublicKey.parse(public_key),
        tuple(parse_allowed_ip(text) for option in allowed_ips for text in option.split(",")),
        None if preshared_key_file is None else _read_preshared_key(preshared_key_file),
        keepalive,
        expires_at=None if expires_at is None else parse_expiry(expires_at, time.time()),
        name=name,
    )
    with _made(store) as registry:
        registry.add([peer])
    print(f"added {checks.label(peer)}")


@app.command("list")
def list_(as_json: Json = False, store: Store = DEFAULT_STORE) -> None:
    """List all peers, in the order of their keys."""
    now = time.time()
    with _existing(store, read_only=True) as registry:
        for peer in registry.peers():
            if as_json:
                print(json.dumps(_describe(peer)))
            else:
                addresses = ",".join(map(str, peer.allowed_ips)) or "-"
                print(f"{peer.public_key}  {_state(peer, now):<8}  {_printable(peer.name):<20}  {addresses}")


@app.command()
def show(handle: Handle, as_json: Json = False, store: Store = DEFAULT_STORE) -> None:
    """Show one peer and its last claim: when and where it was last proven."""
    with _existing(store, read_only=True) as registry:
        registration = registry.lookup(registry.find(handle).public_key)
    if registration is None:
        raise checks.no_such_peer(handle)  # removed in between
    peer, claim = registration.peer, registration.claim
    if as_json:
        print(json.dumps(_describe(peer) | {"claim": None if claim is None else _describe_claim(claim)}))
        return
    fields = {
        "name": _printable(peer.name),
        "public key": peer.public_key,
        "state": _state(peer, time.time()),
        "allowed IPs": ", ".join(map(str, peer.allowed_ips)) or "-",
        "preshared key": "set" if peer.preshared_key else "none",
        "keepalive": f"{peer.keepalive} s" if peer.keepalive else "off",
        "expires": _moment(peer.expires_at) or "never",
        "last proven": "never"
        if claim is None
        else f"{claim.timestamp} at gateway {_printable(claim.gateway)}, from {claim.endpoint}",
    }
    for label, value in fields.items():
        print(f"{label + ':':<15}{value}")


@app.command()
def enable(handle: Handle, store: Store = DEFAULT_STORE) -> None:
    """Let a peer connect again."""
    _switch(store, handle, enabled=True)


@app.command()
def disable(handle: Handle, store: Store = DEFAULT_STORE) -> None:
    """Keep a peer registered, but let it connect no more."""
    _switch(store, handle, enabled=False)


@app.command()
def remove(handle: Handle, store: Store = DEFAULT_STORE) -> None:
    """Take a peer and its claim out of the registry."""
    with _existing(store) as registry:
        # By its key even if the rest of its row is damaged.
        key = checks.parse_key(handle) or registry.find(handle).public_key
        registry.remove(key)
    print(f"removed {handle}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A configuration as `wg showconf` or wg-quick writes it.")],
    names: Annotated[bool, typer.Option(help="Take a comment directly above or in a [Peer] for its name.")] = True,
    store: Store = DEFAULT_STORE,
) -> None:
    """Register all peers of a WireGuard configuration file; if one is refused, none."""
    with _made(store) as registry:
        try:
            count = registry.add(peer for _, peer in _read(file, names))
        except PeerRefused as error:
            raise InvalidValue(
                f"{file}: line {_line_of(file, error.public_key)}: {error}; nothing was imported"
            ) from None
    print(f"imported {count} {'peer' if count == 1 else 'peers'}")


def parse_expiry(text: str, now: float) -> int:
    """Unix seconds of an ISO 8601 date or time (UTC if it names no zone), or of `+30d` after `now`.

    Units are s, m, h, d, w. Raises InvalidValue.
    """
    if match := re.fullmatch(r"\+(\d{1,9})([smhdw])", text):
        return int(now) + int(match[1]) * _UNITS[match[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(
            f"expires-at {text!r}: write a date or time such as 2027-01-31 or 2027-01-31T12:00:00Z, or +30d from now"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _made(store: Path) -> contextlib.closing[SqliteRegistry]:
    if store.parent == DEFAULT_STORE.parent:
        with contextlib.suppress(OSError):  # the registry's own error says what to do
            store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return contextlib.closing(SqliteRegistry(store, timeout=5.0))


def _existing(store: Path, *, read_only: bool = False) -> contextlib.closing[SqliteRegistry]:
    return contextlib.closing(SqliteRegistry(store, create=False, read_only=read_only, timeout=5.0))


def _switch(store: Path, handle: str, *, enabled: bool) -> None:
    with _existing(store) as registry:
        peer = registry.find(handle)
        if peer.enabled != enabled:
            registry.replace(dataclasses.replace(peer, enabled=enabled))
    print(f"{'enabled' if enabled else 'disabled'} {checks.label(peer)}")


def _read_preshared_key(file: Path) -> PresharedKey:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text("ascii")
    except UnicodeDecodeError:
        text = ""  # the key's own parser says what is expected, without the content
    except OSError as error:
        raise ConfigError(f"--preshared-key-file {file}: {error.strerror}") from None
    return PresharedKey.parse(text)


def _read(file: Path, names: bool) -> Iterator[tuple[int, Peer]]:
    """Line number and peer of each section. Raises InvalidValue with the file's name, ConfigError."""
    try:
        with open(file, encoding="utf-8-sig") as lines:
            yield from read_peers(lines, names=names)
    except UnicodeDecodeError:
        raise InvalidValue(f"{file}: not a text in UTF-8; nothing was imported") from None
    except InvalidValue as error:
        raise InvalidValue(f"{file}: {error}; nothing was imported") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _line_of(file: Path, public_key: bytes) -> int:
    """The line of the section that a registry refused: of its key's second one, if the file has two."""
    found = 0
    for line, peer in _read(file, names=False):
        if peer.public_key == public_key:
            if found:
                return line
            found = line
    return found


def _describe(peer: Peer) -> dict[str, Any]:
    return {
        "public_key": str(peer.public_key),
        "name": peer.name,
        "allowed_ips": [str(prefix) for prefix in peer.allowed_ips],
        "has_preshared_key": peer.preshared_key is not None,
        "keepalive": peer.keepalive,
        "enabled": peer.enabled,
        "expires_at": _moment(peer.expires_at),
    }


def _describe_claim(claim: Claim) -> dict[str, Any]:
    return {
        "timestamp": str(claim.timestamp),
        "gateway": claim.gateway,
        "endpoint": str(claim.endpoint),
        "proven_at": _moment(claim.proven_at),
    }


def _state(peer: Peer, now: float) -> str:
    if not peer.enabled:
        return "disabled"
    return "expired" if peer.expires_at is not None and peer.expires_at <= now else "enabled"


def _moment(seconds: float | None) -> str | None:
    """RFC 3339 in UTC to the second; a number that no calendar holds stays one."""
    if seconds is None:
        return None
    try:
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"@{int(seconds)}"


def _printable(text: str | None) -> str:
    """A name as a terminal may show it: another program could have written control characters."""
    if text is None:
        return "-"
    return text if text.isprintable() else repr(text)
