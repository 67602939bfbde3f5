"""`wgjit api` with a log that nobody reads: it serves as if somebody did, and says how much is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.api.conftest import run
from tests.unit.api.test_peers import problem
from wgjit.control.status import GatewayStatus
from wgjit.daemon.control import ControlServer
from wgjit.daemon.feed_hub import FeedHub

CLOSED = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
FULL = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"]
BROKEN = [sys.executable, "-c", "import os, sys; r, w = os.pipe(); os.dup2(w, 2); os.execvp(sys.argv[1], sys.argv[1:])"]
"""Both ends are closed by exec, but the one that is standard error."""
UNREAD = [
    sys.executable,
    "-c",
    "import os, sys; r, w = os.pipe(); os.set_inheritable(r, True); os.dup2(w, 2); os.set_blocking(2, False)\n"
    "try:\n"
    "    while os.write(2, b'.'): pass\n"
    "except BlockingIOError: os.set_blocking(2, True)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])",
]


@pytest.mark.parametrize("through", [CLOSED, FULL, BROKEN, UNREAD], ids=["closed", "full", "broken", "unread"])
def test_failed_authentications_are_answered_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: list[str]
) -> None:
    monkeypatch.setenv("WGJIT_RUN_FOLDER", str(tmp_path))
    api = run(tmp_path, through=through)
    try:
        for _ in range(3):
            assert problem(api.remote("wrong").get("/v1/peers")) == (401, "unauthenticated")
        good = api.remote(api.token("read"))
        assert good.get("/v1/peers").status_code == 200
        assert os.stat(f"/proc/{api.process.pid}/fd/2").st_ino != os.stat(tmp_path / "wg0.db").st_ino

        async def status() -> GatewayStatus:
            return GatewayStatus(interface="wg0", residents=3)

        async def asked() -> httpx.Response:
            async with ControlServer("wg0", status, FeedHub()):
                return await asyncio.to_thread(good.get, "/v1/status")

        told = asyncio.run(asked()).json()
        assert (told["residents"], told["api_log_lines_lost"]) == (3, 3)
        assert told["api"]["troubles"] == {"authentication failed": 3}
    finally:
        assert api.end() == 0
