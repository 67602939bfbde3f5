"""Where wgjit's files are on a machine that nobody has arranged otherwise."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_FOLDER = Path("/etc/wgjit")
STATE_FOLDER = Path("/var/lib/wgjit")
RUN_FOLDER = Path("/run/wgjit")


def run_folder() -> Path:
    """Where sockets and locks of running gateways are; the environment's WGJIT_RUN_FOLDER comes before /run/wgjit."""
    return Path(os.environ.get("WGJIT_RUN_FOLDER") or RUN_FOLDER)
