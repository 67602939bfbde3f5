"""What tests/unit/api/test_as_a_remote_store.py holds the API to on a file, on a database."""

from tests.postgresql.taken import taken
from tests.unit.api import test_as_a_remote_store

globals().update(taken(test_as_a_remote_store))
