"""`wgjit` in a hurry, to test who leaves the device without waiting a quarter of an hour.

The same program, in which a session counts as over after SESSION seconds instead of 180, the device is looked at every
half second, a crowd as often as when a knock waits for room (else a look that takes a second on a busy machine keeps
the next one away for fifty), and the idle time is IDLE, or what HASTY_IDLE says. The kernel knows nothing of it. What
hangs on the true 180 s is tested with them, in tests/kernel/test_patience.py.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from wgjit.core.settings import Pace, Settings
from wgjit.daemon import lifecycle
from wgjit.daemon.core_settings import core_settings

SESSION = 6.0
IDLE = float(os.environ.get("HASTY_IDLE", "8"))
PACE = Pace(session=SESSION, interval=0.5, spacing=0.3, share=Pace().urgent)

HASTY = (sys.executable, __file__)
"""The command, as an argument list."""


def _in_a_hurry(*arguments: Any, **named: Any) -> Settings:
    return replace(core_settings(*arguments, **named), idle_timeout=IDLE, pace=PACE)


if __name__ == "__main__":
    lifecycle.core_settings = _in_a_hurry  # type: ignore[assignment]

    from wgjit.cli import main

    main()
