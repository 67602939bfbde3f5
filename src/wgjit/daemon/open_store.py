"""Opens the store that a gateway's configuration names."""

from __future__ import annotations

from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from wgjit.config import STATE_FOLDER, Config, read_private_key
from wgjit.daemon.core_settings import EPOCH
from wgjit.drivers.wireguard.interface import interface_exists
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import ConfigError
from wgjit.model import PublicKey
from wgjit.stores.base import Store
from wgjit.stores.replica.messages import Description
from wgjit.stores.replica.messages import Terms as ReplicaTerms
from wgjit.stores.replica.store import ReplicaStore
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
    if config.store.database is not None:
        return _replica(interface, config, path)

    # Imported only if needed: the HTTP client takes a tenth of a second to load.
    from wgjit.stores.remote.store import RemoteStore

    return RemoteStore(terms(config), path)


def _replica(interface: str, config: Config, path: Path) -> ReplicaStore:
    """The gateway's copy of the registry in PostgreSQL. Its follower is not started yet. Raises ConfigError."""
    store, gateway = config.store, config.gateway
    assert store.database is not None
    description = Description(
        gateway.name,
        EPOCH,
        _public_key(interface, config),
        interface,
        version("wgjit"),
        gateway.address,
        ",".join(map(str, config.takeover.addresses)) or None,
    )
    read = None if store.read_url is None else store.read_url.reveal()
    return ReplicaStore(path, ReplicaTerms(store.database.reveal(), description, read, store.poll))


def _public_key(interface: str, config: Config) -> PublicKey:
    """The public key of the interface, which wgjit may have to make yet. Raises ConfigError, DeviceError."""
    if interface_exists(interface):
        with closing(open_device(interface)) as device:
            if (key := device.info().private_key) is not None:
                return key.public()
    if config.interface.private_key_file is None:
        raise ConfigError(f"has no private key; set one: wg set {interface} private-key FILE", field=interface)
    return read_private_key(config.interface.private_key_file).public()


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
