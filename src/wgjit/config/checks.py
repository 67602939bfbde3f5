"""Finds mistakes that would stop a start although the settings are well-formed. This changes nothing.

A mistake keeps a gateway, `wgjit api` or `wgjit peer` from working. A warning is about a setting that is probably not
meant so.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wgjit.config.key_file import account, read_private_key, unreadable
from wgjit.config.layers import DEFAULT, Mistake, Setting
from wgjit.config.loading import Loaded
from wgjit.database_url import DatabaseUrl
from wgjit.errors import ConfigError
from wgjit.wire.key_text import shown


class Finding(NamedTuple):
    """A mistake, or a warning."""

    mistake: Mistake
    is_warning: bool = False


_Check = Callable[[Loaded], Iterator[tuple[Setting, str, bool]]]
"""Yields setting, text, and whether it is a warning."""


def check(loaded: Loaded) -> list[Finding]:
    """All findings for one interface's settings."""
    found = []
    for one in _CHECKS:
        for setting, text, is_warning in one(loaded):
            mistake = Mistake(loaded.origin(setting), f"{loaded.interface}: {'.'.join(setting)}", text)
            found.append(Finding(mistake, is_warning))
    return found


def _key_file(loaded: Loaded) -> Iterator[tuple[Setting, str, bool]]:
    path = loaded.config.interface.private_key_file
    if path is None:
        return
    setting = ("interface", "private_key_file")
    try:
        read_private_key(path)
    except ConfigError as error:
        yield setting, error.text, False
        return
    if path.stat().st_mode & 0o007:
        yield setting, f"{shown(path)}: others may read it; chmod 640 {path}", True


def _pools(loaded: Loaded) -> Iterator[tuple[Setting, str, bool]]:
    own = loaded.config.interface.addresses
    for name in ("ipv4", "ipv6"):
        pool = getattr(loaded.config.pool, name)
        if pool is None or not own:
            continue
        routed = [*(address.network for address in own), *loaded.config.interface.routes]
        if not any(net.version == pool.version and pool.subnet_of(net) for net in routed):
            yield (
                ("pool", name),
                f"{pool} lies in no prefix of interface.addresses or interface.routes: its packets are not routed "
                "into the tunnel",
                True,
            )


def _store(loaded: Loaded) -> Iterator[tuple[Setting, str, bool]]:
    store = loaded.config.store
    for text in _store_file(loaded):
        yield ("store", "path"), text, False
    if store.token_file is not None:
        yield from _readable(("store", "token_file"), store.token_file)
    if store.ca_file is not None:
        yield from _certificates(("store", "ca_file"), store.ca_file)


def _store_file(loaded: Loaded) -> Iterator[str]:
    """What keeps this process's account from the registry's file. A missing file is made at the start."""
    path = loaded.config.store_path(loaded.interface)
    folder, who = path.parent, account()[0]
    may_write = os.access(folder, os.W_OK | os.X_OK)
    if loaded.config.store.path is None and not may_write:
        return  # systemd gives the default folder to the account at the first start
    closed = next((above for above in reversed(folder.absolute().parents) if not os.access(above, os.X_OK)), None)
    if closed is not None and os.path.isdir(closed):
        yield unreadable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    elif not os.path.isdir(folder):
        yield f"{shown(folder)}: no such folder; make it"
    elif not may_write:
        yield f"{shown(folder)}: {who} may not write in it, which SQLite needs; if {who} is the service's account: " + (
            f"chown {who}: {shown(folder)}"
        )
    else:
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            if os.path.exists(file) and not os.access(file, os.R_OK | os.W_OK):
                remedy = f"if {who} is the service's account: chown {who}: {shown(file)}"
                yield f"{shown(file)}: may not be read and written by {who}; {remedy}"


_OF_SERVICES = ("timeout", "time_to_live", "stale", "follow")
"""Settings that mean nothing for a registry in PostgreSQL."""


def _database(loaded: Loaded) -> Iterator[tuple[Setting, str, bool]]:
    store = loaded.config.store
    if store.database is None:
        if loaded.origin(("store", "poll")) != DEFAULT:
            yield ("store", "poll"), "has no effect: store.url is no PostgreSQL database", True
        return
    for name in _OF_SERVICES:
        if loaded.origin(("store", name)) != DEFAULT:
            yield ("store", name), "has no effect: store.url is a PostgreSQL database, and this is for services", True
    for name, url in (("url", store.database), ("read_url", store.read_url)):
        if url is not None:
            for text, is_warning in _url(loaded, ("store", name), url):
                yield ("store", name), text, is_warning
    attributes = store.database.parameter("target_session_attrs")
    if len(store.database.hosts) > 1 and attributes not in ("read-write", "primary"):
        told = "has several hosts, and the first may be a standby that takes no changes; add "
        yield ("store", "url"), f"{told}target_session_attrs=read-write", True
    if store.read_url is not None and store.read_url.parameter("target_session_attrs") in ("read-write", "primary"):
        told = "has a target_session_attrs that takes no standby; write prefer-standby, or leave it out"
        yield ("store", "read_url"), told, True


def _url(loaded: Loaded, setting: Setting, url: DatabaseUrl) -> Iterator[tuple[str, bool]]:
    """Findings about the URL of a database: text, and whether it is a warning."""
    if url.has_password and loaded.origin(setting).kind == "file" and _others_may_read(loaded.path):
        told = "has a password in it, and others may read this file; keep it in a passfile, or "
        yield f"{told}chmod 640 {loaded.path}", True
    if (passfile := url.parameter("passfile")) is not None:
        path = Path(passfile)
        for _, text, is_warning in _readable(setting, path):
            yield f"passfile: {text}", is_warning
        if path.is_file() and path.stat().st_mode & 0o077:
            yield f"passfile: {shown(path)}: libpq ignores it, since others may read it; chmod 600 {path}", False
    authority = url.parameter("sslrootcert")
    if authority not in (None, "system"):
        for _, text, is_warning in _certificates(setting, Path(str(authority))):
            yield f"sslrootcert: {text}", is_warning
    is_checked = url.parameter("sslmode") in ("verify-full", "verify-ca") or authority == "system"
    if not is_checked and any(map(_is_remote, url.hosts)):
        told = "does not check the server's certificate, so another machine may take its place and get preshared keys; "
        yield f"{told}add sslmode=verify-full and sslrootcert=FILE", True


def _is_remote(host: str) -> bool:
    """Whether a server of this name, address or socket folder may be another machine."""
    return not host.startswith(("/", "@", "127.")) and host not in ("localhost", "::1", "")


def _others_may_read(path: Path | None) -> bool:
    return path is not None and bool(path.stat().st_mode & 0o007)


def _api(loaded: Loaded) -> Iterator[tuple[Setting, str, bool]]:
    api = loaded.config.api
    if api.tls_certificate_file is None or api.tls_private_key_file is None:
        return
    broken = [
        *_readable(("api", "tls_certificate_file"), api.tls_certificate_file),
        *_readable(("api", "tls_private_key_file"), api.tls_private_key_file),
    ]
    if broken:
        yield from broken
        return
    try:
        # Give a wrong passphrase, so that no question appears on the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            api.tls_certificate_file, api.tls_private_key_file, password=""
        )
    except (ssl.SSLError, OSError, ValueError) as error:
        text = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
        yield (
            ("api", "tls_certificate_file"),
            f"{api.tls_certificate_file} and {api.tls_private_key_file}: {text}; "
            "give PEM files that belong together, the key without a passphrase",
            False,
        )


def _routes(loaded: Loaded) -> Iterator[tuple[Setting, str, bool]]:
    routes = loaded.config.routes
    if routes.mode == "off":
        for name in ("table", "protocol", "metric", "skip_covered"):
            if loaded.origin(("routes", name)) != DEFAULT:
                yield ("routes", name), "has no effect: routes.mode is off", True
    elif routes.skip_covered and loaded.config.store.database is not None:
        told = "a client whose address lies in interface.addresses or interface.routes cannot be found from inside: "
        yield ("routes", "skip_covered"), f"{told}the other gateways of the fleet have the same prefixes", True


def _readable(setting: Setting, path: Path) -> Iterator[tuple[Setting, str, bool]]:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                yield setting, f"{shown(path)}: is empty", False
    except OSError as error:
        yield setting, unreadable(path, error), False


def _certificates(setting: Setting, path: Path) -> Iterator[tuple[Setting, str, bool]]:
    if broken := list(_readable(setting, path)):
        yield from broken
        return
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError):
        yield setting, f"{path}: holds no certificates; give a PEM file", False


_CHECKS: Sequence[_Check] = (_key_file, _pools, _store, _database, _routes, _api)
