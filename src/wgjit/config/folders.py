"""Where wgjit's files are on a machine that nobody has arranged otherwise."""

from __future__ import annotations

from pathlib import Path

CONFIG_FOLDER = Path("/etc/wgjit")
STATE_FOLDER = Path("/var/lib/wgjit")
RUN_FOLDER = Path("/run/wgjit")
