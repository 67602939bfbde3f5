"""`wgjit` with a clock of its own, to test gateways whose clocks are apart on one machine.

This is the same program, and its follower too, but their clock is ahead of the machine's by LAB_CLOCK seconds. The
clock of WireGuard on the interface is still the machine's, as is the database's. What depends on the device's times
is tested in a guest, whose clock can be stepped.
"""

from __future__ import annotations

import os
import runpy
import sys
import time

SKEWED = (sys.executable, __file__)
"""The command, as an argument list."""

FOLLOWER = "wgjit.stores.replica.follower"


def _put_ahead(seconds: float) -> None:
    true, true_ns, nanoseconds = time.time, time.time_ns, round(seconds * 1e9)
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + nanoseconds


if __name__ == "__main__":
    _put_ahead(float(os.environ["LAB_CLOCK"]))
    if sys.argv[1:] == [FOLLOWER]:
        del sys.argv[1:]
        runpy.run_module(FOLLOWER, run_name="__main__", alter_sys=True)
    else:
        from wgjit.stores.replica import process

        vars(process)["COMMAND"] = (*SKEWED, FOLLOWER)

        from wgjit.cli import main

        main()
