"""`wgjit` in a hurry, to test who leaves the device without waiting a quarter of an hour.

The same program, in which four constants and one setting are small: a session counts as over after SESSION seconds
instead of 180, the device is looked at every half second, a crowd as often as when somebody waits for room (else a
look that takes a second on a busy machine keeps the next one away for fifty), and the idle time is IDLE, or what
HASTY_IDLE says. The kernel knows nothing of it. What hangs on the true 180 s is tested with them, in
tests/kernel/test_patience.py.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from wgjit.core.residents import idleness
from wgjit.core.settings import Settings
from wgjit.daemon import lifecycle

SESSION = 6.0
IDLE = float(os.environ.get("HASTY_IDLE", "8"))

HASTY = (sys.executable, __file__)
"""The command, as an argument list."""


def _settings(**values: Any) -> Settings:
    return Settings(**{**values, "idle_timeout": IDLE})


if __name__ == "__main__":
    idleness.SESSION, idleness.INTERVAL, idleness.SPACING = SESSION, 0.5, 0.3
    idleness.SHARE = idleness.URGENT
    lifecycle.Settings = _settings  # type: ignore[misc,assignment]

    from wgjit.cli import main

    main()
