"""What tests/unit/api/test_auth.py holds the API to on a file, on a database."""

from tests.postgresql.taken import taken
from tests.unit.api import test_auth

globals().update(taken(test_auth))
