"""`wgjit` with short times, to test which peers leave the device without waiting a quarter of an hour.

This is the same program with other times. A session counts as over after SESSION seconds instead of 180. The idle time
is IDLE, or the value of HASTY_IDLE. HASTY_REFRESH is the time after which a fleet's gateway says again what it holds.
The device is looked at every half second. A device with many residents is looked at as often as when a knock waits for
room; otherwise, on a busy machine, a look of one second would delay the next look by fifty. The kernel keeps its own
times. What depends on the true 180 s is tested in tests/kernel/test_patience.py.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from wgjit.core.residents import holders
from wgjit.core.settings import Pace, Settings
from wgjit.daemon import lifecycle
from wgjit.daemon.core_settings import core_settings

SESSION = 6.0
IDLE = float(os.environ.get("HASTY_IDLE", "8"))
REFRESH = float(os.environ.get("HASTY_REFRESH", holders.REFRESH))
PACE = Pace(session=SESSION, interval=0.5, spacing=0.3, share=Pace().urgent)

HASTY = (sys.executable, __file__)
"""The command, as an argument list."""


def _in_a_hurry(*arguments: Any, **named: Any) -> Settings:
    return replace(core_settings(*arguments, **named), idle_timeout=IDLE, pace=PACE)


if __name__ == "__main__":
    lifecycle.core_settings = _in_a_hurry  # type: ignore[assignment]
    holders.REFRESH = REFRESH

    from wgjit.cli import main

    main()
