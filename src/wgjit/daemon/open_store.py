"""The store that a gateway's configuration names."""

from __future__ import annotations

from wgjit.config import STATE_FOLDER, Config
from wgjit.stores.base import Store
from wgjit.stores.sqlite.store import SqliteStore


def open_store(interface: str, config: Config) -> Store:
    """Open it, and make its file if there is none. Raises ConfigError, StoreError."""
    path = config.store_path(interface)
    if path.parent == STATE_FOLDER:
        STATE_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config.store.url is None:
        return SqliteStore(path)

    # Not for everybody: an HTTP client takes a tenth of a second to load.
    from wgjit.stores.remote.store import RemoteStore, Terms

    store = config.store
    assert store.url is not None
    terms = Terms(
        store.url,
        store.token_file,
        store.ca_file,
        timeout=store.timeout,
        time_to_live=store.time_to_live,
        negative_time_to_live=store.negative_time_to_live,
        negatives=store.negatives,
        stale=store.stale,
        requests=store.requests,
        follow=store.follow,
    )
    return RemoteStore(terms, path)
