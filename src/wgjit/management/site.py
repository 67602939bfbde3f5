"""An interface's settings, and where its registry is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wgjit.config import STATE_FOLDER, Config, load, read_private_key
from wgjit.config.environment import put_store
from wgjit.config.layers import Named
from wgjit.config.locate import own_path
from wgjit.errors import ConfigError, InvalidValue
from wgjit.management.own import Own
from wgjit.model import PublicKey
from wgjit.stores.entries import Pool
from wgjit.stores.opening import Where


@dataclass(frozen=True)
class Site:
    """An interface's settings, and where its registry is."""

    config: Config
    source: Path
    """The configuration file. If there is none, the path where it would be."""
    where: Where
    """The place of the registry."""
    reads_key: bool = True
    """Whether this program may read the interface's private key, for the public key."""

    @property
    def pools(self) -> list[Pool]:
        """The configured pools, IPv4 first."""
        pool = self.config.pool
        own = tuple(address.ip for address in self.config.interface.addresses)
        return [Pool(prefix, pool.quarantine, own) for prefix in (pool.ipv4, pool.ipv6) if prefix is not None]

    @cached_property
    def own(self) -> Own:
        """The gateway's own key and addresses, as far as the settings tell them and this account may read the key."""
        keys = set()
        with contextlib.suppress(InvalidValue, ConfigError):
            if self.config.client.public_key is not None:
                keys.add(PublicKey.parse(self.config.client.public_key))
        with contextlib.suppress(InvalidValue, ConfigError):
            if self.reads_key and self.config.interface.private_key_file is not None:
                keys.add(read_private_key(self.config.interface.private_key_file).public())
        return Own(frozenset(keys), tuple(self.config.interface.addresses))

    def make_folder(self) -> None:
        """Make the default folder of registries, if this registry belongs there. Raises OSError."""
        if not self.where.is_database and Path(self.where.place).parent == STATE_FOLDER:
            STATE_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)


def site(interface: str, config: Path | None, store: str | None) -> Site:
    """The site that the three options, the environment and the configuration file mean. Raises ConfigError."""
    options = Named("command line")
    if store is not None:
        put_store(options, "--store", store)
    loaded = load(interface, config, [options])
    settings = loaded.config.store
    if settings.service is not None:
        raise ConfigError(f"store.url: the registry is at {settings.service}: manage its peers there")
    path = loaded.config.store_path(interface)
    where = Where.of_file(path) if settings.database is None else Where.of_url(settings.database)
    return Site(loaded.config, loaded.path or own_path(interface), where)
