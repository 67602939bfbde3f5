"""The contract of a registry, over a real PostgreSQL server."""

from tests.contracts.store import StoreContract


class TestPostgresRegistry(StoreContract):
    """The fixture `registry` is the folder's."""
