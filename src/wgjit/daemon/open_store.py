"""Opens the store that a gateway's configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wgjit.config import STATE_FOLDER, Config
from wgjit.stores.base import Store
from wgjit.stores.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from wgjit.stores.remote.store import Terms


def open_store(interface: str, config: Config) -> Store:
    """Open the store, and make its file if there is none. Raises ConfigError, StoreError."""
    path = config.store_path(interface)
    if path.parent == STATE_FOLDER:
        STATE_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config.store.url is None:
        return SqliteStore(path)

    # Imported only if needed: the HTTP client takes a tenth of a second to load.
    from wgjit.stores.remote.store import RemoteStore

    return RemoteStore(terms(config), path)


def terms(config: Config) -> Terms:
    """The terms for asking the service that the configuration names."""
    from wgjit.stores.remote.store import Terms

    store = config.store
    assert store.service is not None
    return Terms(
        store.service,
        store.token_file,
        store.ca_file,
        timeout=store.timeout,
        time_to_live=store.time_to_live,
        stale=store.stale,
        follow=store.follow,
    )
