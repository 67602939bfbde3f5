"""The folder of running gateways' sockets and locks. Alone in a module, for a command that has to start fast."""

from __future__ import annotations

import os
from pathlib import Path

RUN_FOLDER = Path("/run/wgjit")


def run_folder() -> Path:
    """The folder of running gateways' sockets and locks: WGJIT_RUN_FOLDER if it is set, else /run/wgjit."""
    return Path(os.environ.get("WGJIT_RUN_FOLDER") or RUN_FOLDER)
