"""What tests/unit/api/test_schema.py holds the API to on a file, on a database."""

from tests.postgresql.taken import taken
from tests.unit.api import test_schema

globals().update(taken(test_schema))
