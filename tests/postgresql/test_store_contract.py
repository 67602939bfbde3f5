"""The contract of a registry, over a real PostgreSQL server."""

from tests.contracts.store import PeoplesRegistryContract


class TestPostgresRegistry(PeoplesRegistryContract):
    """The fixture `registry` is the folder's."""
