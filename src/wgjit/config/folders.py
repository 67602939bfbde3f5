"""The default folders of wgjit's files."""

from __future__ import annotations

from pathlib import Path

from wgjit.run_folder import RUN_FOLDER, run_folder

__all__ = ["CONFIG_FOLDER", "RUN_FOLDER", "STATE_FOLDER", "run_folder"]

CONFIG_FOLDER = Path("/etc/wgjit")
STATE_FOLDER = Path("/var/lib/wgjit")
