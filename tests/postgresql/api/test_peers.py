"""What tests/unit/api/test_peers.py holds the API to on a file, on a database."""

from tests.postgresql.taken import taken
from tests.unit.api import test_peers

globals().update(taken(test_peers))
