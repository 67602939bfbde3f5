"""The default folders of wgjit's files."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_FOLDER = Path("/etc/wgjit")
STATE_FOLDER = Path("/var/lib/wgjit")
RUN_FOLDER = Path("/run/wgjit")


def run_folder() -> Path:
    """The folder of running gateways' sockets and locks: WGJIT_RUN_FOLDER if it is set, else /run/wgjit."""
    return Path(os.environ.get("WGJIT_RUN_FOLDER") or RUN_FOLDER)
