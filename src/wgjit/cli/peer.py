"""`wgjit peer`: register peers, look at them, change them, switch them off, remove them.

These commands work on the registry file alone, with or without a running gateway; a gateway sees their changes within
a second. A HANDLE is a peer's name or its public key. A preshared key is read from a file and never shown.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from wgjit.cli import claim as claims
from wgjit.cli.peer_export import export
from wgjit.cli.peer_import import import_
from wgjit.cli.registry_file import DEFAULT_STORE, Handle, Json, Store, existing, made, printable
from wgjit.cli.times import parse_expiry, parse_idle_timeout, show_idle_timeout, show_moment
from wgjit.errors import ConfigError
from wgjit.model import AllowedIP, Peer, PresharedKey, PublicKey, parse_allowed_ip
from wgjit.stores import checks

app = typer.Typer(name="peer", help="Register, show, switch off and remove peers.", no_args_is_help=True)
app.command("import")(import_)
app.command("export")(export)

_EXPIRY = "2027-01-31, 2027-01-31T12:00:00Z, from now: +30d, +12h, or never."
_KEEPALIVE = "Keepalive that the gateway sends; 0 is off."
_ALLOWED_IPS = "Its addresses inside the tunnel, comma-separated."
_IDLE = (
    "Leave the interface when idle for so long: 30m, 12h (180s at least), never (pinned), or default, the gateway's."
)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A name for people; unique.")],
    public_key: Annotated[str, typer.Option(metavar="KEY", help="Base64, as `wg pubkey` prints it.")],
    allowed_ips: Annotated[list[str], typer.Option(metavar="PREFIXES", help=_ALLOWED_IPS)],
    preshared_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file with its preshared key; - is standard input.")
    ] = None,
    keepalive: Annotated[int, typer.Option(metavar="SECONDS", help=_KEEPALIVE)] = 0,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help=_EXPIRY)] = None,
    idle_timeout: Annotated[str, typer.Option(metavar="DURATION", help=_IDLE)] = "default",
    store: Store = DEFAULT_STORE,
) -> None:
    """Register a peer. Makes the registry file if there is none."""
    peer = Peer(
        PublicKey.parse(public_key),
        _prefixes(allowed_ips),
        None if preshared_key_file is None else _read_preshared_key(preshared_key_file),
        keepalive,
        expires_at=None if expires_at is None else parse_expiry(expires_at, time.time()),
        name=name,
        idle_timeout=parse_idle_timeout(idle_timeout),
    )
    with made(store) as registry:
        registry.add([peer])
    print(f"added {checks.label(peer)}")


@app.command("list")
def list_(as_json: Json = False, store: Store = DEFAULT_STORE) -> None:
    """List all peers, in the order of their keys."""
    now = time.time()
    with existing(store, read_only=True) as registry:
        for peer in registry.peers():
            if as_json:
                print(json.dumps(_describe(peer)))
            else:
                addresses = ",".join(map(str, peer.allowed_ips)) or "-"
                print(f"{peer.public_key}  {_state(peer, now):<8}  {printable(peer.name):<20}  {addresses}")


@app.command()
def show(handle: Handle, as_json: Json = False, store: Store = DEFAULT_STORE) -> None:
    """Show one peer and its last claim: when and where it was last proven."""
    with existing(store, read_only=True) as registry:
        registration = registry.lookup(registry.find(handle).public_key)
    if registration is None:
        raise checks.no_such_peer(handle)  # removed in between
    peer, claim = registration.peer, registration.claim
    if as_json:
        print(json.dumps(_describe(peer) | {"claim": claims.describe(claim)}))
        return
    fields = {
        "name": printable(peer.name),
        "public key": peer.public_key,
        "state": _state(peer, time.time()),
        "allowed IPs": ", ".join(map(str, peer.allowed_ips)) or "-",
        "preshared key": "set" if peer.preshared_key else "none",
        "keepalive": f"{peer.keepalive} s" if peer.keepalive else "off",
        "expires": show_moment(peer.expires_at) or "never",
        "idle timeout": show_idle_timeout(peer.idle_timeout),
        "last proven": claims.summary(claim),
    }
    for label, value in fields.items():
        print(f"{label + ':':<15}{value}")


@app.command("set")
def set_(
    handle: Handle,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Another name; unique.")] = None,
    allowed_ips: Annotated[
        list[str] | None, typer.Option(metavar="PREFIXES", help=_ALLOWED_IPS + " All of them.")
    ] = None,
    preshared_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file with its preshared key; - is standard input.")
    ] = None,
    no_preshared_key: Annotated[bool, typer.Option("--no-preshared-key", help="Take its preshared key away.")] = False,
    keepalive: Annotated[int | None, typer.Option(metavar="SECONDS", help=_KEEPALIVE)] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help=_EXPIRY)] = None,
    idle_timeout: Annotated[str | None, typer.Option(metavar="DURATION", help=_IDLE)] = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Change a peer: what is given, and nothing else."""
    if preshared_key_file is not None and no_preshared_key:
        raise ConfigError("--preshared-key-file and --no-preshared-key: give one of the two")
    values: dict[str, Any] = {}
    if name is not None:
        values["name"] = name
    if allowed_ips:
        values["allowed_ips"] = _prefixes(allowed_ips)
    if preshared_key_file is not None or no_preshared_key:
        values["preshared_key"] = None if preshared_key_file is None else _read_preshared_key(preshared_key_file)
    if keepalive is not None:
        values["keepalive"] = keepalive
    if expires_at is not None:
        values["expires_at"] = parse_expiry(expires_at, time.time())
    if idle_timeout is not None:
        values["idle_timeout"] = parse_idle_timeout(idle_timeout)
    if not values:
        raise ConfigError(f"nothing to change for {handle!r}: give an option, such as --keepalive 25")
    with existing(store) as registry:
        peer = registry.change(handle, lambda peer: dataclasses.replace(peer, **values))
    print(f"changed {checks.label(peer)}: {', '.join(values).replace('_', ' ')}")


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
    with existing(store) as registry:
        # By its key even if the rest of its row is damaged.
        key = checks.parse_key(handle) or registry.find(handle).public_key
        registry.remove(key)
    print(f"removed {handle}")


def _switch(store: Path, handle: str, *, enabled: bool) -> None:
    with existing(store) as registry:
        peer = registry.change(handle, lambda peer: dataclasses.replace(peer, enabled=enabled))
    print(f"{'enabled' if enabled else 'disabled'} {checks.label(peer)}")


def _prefixes(options: list[str]) -> tuple[AllowedIP, ...]:
    return tuple(parse_allowed_ip(text) for option in options for text in option.split(","))


def _read_preshared_key(file: Path) -> PresharedKey:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text("ascii")
    except UnicodeDecodeError:
        text = ""  # the key's own parser says what is expected, without the content
    except OSError as error:
        raise ConfigError(f"--preshared-key-file {file}: {error.strerror}") from None
    return PresharedKey.parse(text)


def _describe(peer: Peer) -> dict[str, Any]:
    return {
        "public_key": str(peer.public_key),
        "name": peer.name,
        "allowed_ips": [str(prefix) for prefix in peer.allowed_ips],
        "has_preshared_key": peer.preshared_key is not None,
        "keepalive": peer.keepalive,
        "enabled": peer.enabled,
        "expires_at": show_moment(peer.expires_at),
        "idle_timeout": peer.idle_timeout,
    }


def _state(peer: Peer, now: float) -> str:
    if not peer.enabled:
        return "disabled"
    return "expired" if peer.expires_at is not None and peer.expires_at <= now else "enabled"
