"""An interface's settings, and where its registry is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wgjit.config import STATE_FOLDER, Config, load
from wgjit.config.environment import put_store
from wgjit.config.layers import Named
from wgjit.config.locate import own_path
from wgjit.errors import ConfigError
from wgjit.stores.entries import Pool
from wgjit.stores.opening import Where


@dataclass(frozen=True, slots=True)
class Site:
    """An interface's settings, and where its registry is."""

    config: Config
    source: Path
    """The configuration file. If there is none, the path where it would be."""
    where: Where
    """The place of the registry."""

    @property
    def pools(self) -> list[Pool]:
        """The configured pools, IPv4 first."""
        pool = self.config.pool
        own = tuple(address.ip for address in self.config.interface.addresses)
        return [Pool(prefix, pool.quarantine, own) for prefix in (pool.ipv4, pool.ipv6) if prefix is not None]

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
