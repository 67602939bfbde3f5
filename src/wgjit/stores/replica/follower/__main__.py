"""`python -m wgjit.stores.replica.follower`, with the socket to the gateway as standard input."""

import sys

from wgjit.stores.replica.follower.main import run

sys.exit(run())
