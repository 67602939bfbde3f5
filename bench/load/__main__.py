"""`python -m bench.load`: `wgjit-load`."""

from __future__ import annotations

import sys

from bench.load.command import main

sys.exit(main())
