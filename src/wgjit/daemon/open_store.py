"""The store that a gateway's configuration names."""

from __future__ import annotations

from wgjit.config import STATE_FOLDER, Config
from wgjit.errors import ConfigError
from wgjit.stores.base import Store
from wgjit.stores.sqlite import SqliteRegistry


def open_store(interface: str, config: Config) -> Store:
    """Open it, and make the file if there is none. Raises ConfigError, StoreError."""
    path = config.store_path(interface)
    if path.parent == STATE_FOLDER:
        STATE_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config.store.url is not None:
        raise ConfigError("store.url: not built yet")
    return SqliteRegistry(path)
