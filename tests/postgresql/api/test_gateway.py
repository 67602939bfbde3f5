"""What tests/unit/api/test_gateway.py holds the API to on a file, on a database."""

from tests.postgresql.taken import taken
from tests.unit.api import test_gateway

globals().update(taken(test_gateway, ["test_a_mistake_of_ours_tells_an_id_that_the_log_has_and_nothing_else"]))
