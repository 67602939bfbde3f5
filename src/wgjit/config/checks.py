"""Finds mistakes that would stop a start although the settings are well-formed. This changes nothing.

A mistake keeps a gateway, `wgjit api` or `wgjit peer` from working. A warning is about a setting that is probably not
meant so.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wgjit.config.key_file import read_private_key
from wgjit.config.layers import Mistake, Setting
from wgjit.config.loading import Loaded
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
    if store.path is not None:
        if not store.path.parent.is_dir():
            yield ("store", "path"), f"{store.path.parent}: no such folder; make it", False
        elif store.path.exists() and not os.access(store.path, os.R_OK | os.W_OK):
            yield ("store", "path"), f"{store.path}: may not be read and written by this user", False
    if store.token_file is not None:
        yield from _readable(("store", "token_file"), store.token_file)
    if store.ca_file is not None:
        yield from _certificates(("store", "ca_file"), store.ca_file)


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


def _readable(setting: Setting, path: Path) -> Iterator[tuple[Setting, str, bool]]:
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                yield setting, f"{shown(path)}: is empty", False
    except OSError as error:
        yield setting, f"{shown(path)}: {error.strerror}", False


def _certificates(setting: Setting, path: Path) -> Iterator[tuple[Setting, str, bool]]:
    if broken := list(_readable(setting, path)):
        yield from broken
        return
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError):
        yield setting, f"{path}: holds no certificates; give a PEM file", False


_CHECKS: Sequence[_Check] = (_key_file, _pools, _store, _api)
