"""A fleet's gateway notices strays: rules on the wire, on this machine's kernel."""

from tests.contracts.strays import StraysContract


class TestStrays(StraysContract):
    pass
