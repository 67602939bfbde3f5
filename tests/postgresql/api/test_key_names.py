"""What tests/unit/api/test_key_names.py holds the API to on a file, on a database."""

from tests.postgresql.taken import taken
from tests.unit.api import test_key_names

globals().update(taken(test_key_names))
