"""Finds what two interfaces cannot share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from wgjit.config.layers import Mistake, Origin, Setting
from wgjit.config.settings import Config

Member = tuple[str, Config, Callable[[Setting], Origin]]
"""An interface, its settings, and a function that gives the place of each."""


def clashes(members: Sequence[Member]) -> list[Mistake]:
    """Mistakes for settings that must differ between interfaces but are the same. Each mistake names both interfaces.

    Two interfaces may share one registry. They may also have the same port or key if they existed before wgjit: without
    interface.private_key_file, wgjit does not make them from these settings.
    """
    owners: dict[tuple[Setting, str], str] = {}
    kinds: dict[str, tuple[str, str]] = {}
    found = []
    for interface, config, origin in members:
        for setting, value, why in _exclusive(config):
            other = owners.setdefault((setting, value), interface)
            if other != interface:
                text = f"{value} is that of {other} and of {interface}; give each its own{why}"
                found.append(Mistake(origin(setting), ".".join(setting), text))
        path, keeps = str(config.store_path(interface)), _keeps(config)
        other, other_keeps = kinds.setdefault(path, (interface, keeps))
        if other != interface and (keeps or other_keeps):
            text = f"{path} is that of {other} and of {interface}, and keeps {keeps or other_keeps}; give each its own"
            found.append(Mistake(origin(("store", "path")), "store.path", text))
    return found


def _keeps(config: Config) -> str:
    """What the gateway keeps in its file, if the file is not the registry."""
    if config.store.url is None:
        return ""
    return "a service's answers" if config.store.database is None else "a gateway's copy of the registry"


def _exclusive(config: Config) -> Iterator[tuple[Setting, str, str]]:
    interface = config.interface
    if interface.private_key_file is not None:
        yield ("interface", "listen_port"), str(interface.listen_port), ""
        # A recorded initiation to one interface would be fresh to the other.
        yield ("interface", "private_key_file"), str(interface.private_key_file), ": wg genkey"
    if config.store.database is not None:
        # The gateways of a registry tell each other apart by name.
        yield ("gateway", "name"), f"{config.gateway.name} in {config.store.database}", ""
    if config.api.socket is not None:
        yield ("api", "socket"), str(config.api.socket), ""
