"""Which registry is meant, and what the configuration says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wgjit.config import CONFIG_FOLDER, Config, config_path, load_config
from wgjit.stores.pools import Pool


@dataclass(frozen=True, slots=True)
class Site:
    """An interface's settings, and where its registry is."""

    config: Config
    source: Path
    """The configuration file, or the one that would be it."""
    store: Path

    @property
    def pools(self) -> list[Pool]:
        """The configured pools, IPv4 first."""
        pool = self.config.pool
        own = tuple(address.ip for address in self.config.interface.addresses)
        return [Pool(prefix, pool.quarantine, own) for prefix in (pool.ipv4, pool.ipv6) if prefix is not None]


def site(interface: str, config: Path | None, store: Path | None) -> Site:
    """What the three options say. Raises ConfigError."""
    path = config_path(interface, config)
    settings = Config() if path is None else load_config(path)
    return Site(settings, path or CONFIG_FOLDER / f"{interface}.toml", store or settings.store_path(interface))
