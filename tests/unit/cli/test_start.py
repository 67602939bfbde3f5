"""What a gateway's start loads: each module costs a millisecond or more before the first knock can be answered."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = "import sys; from wgjit.cli.shared import application; application.command_line('up')"


def loaded(then: str = "pass") -> set[str]:
    code = f"{CALL}; {then}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "module", ["rich", "fastapi", "httpx", "segno", "psycopg", "pydantic.networks", "wgjit.management"]
)
def test_up_does_not_load_what_it_does_not_use(module: str) -> None:
    assert module not in loaded()


def test_rich_is_there_for_who_uses_it() -> None:
    assert "rich" in loaded("import rich")


def test_a_traceback_in_the_log_has_no_local_variables() -> None:
    code = (
        "from wgjit.cli.shared.log import set_up_log; import structlog; from io import StringIO\n"
        "def fail(secret):\n    raise ValueError('wrong')\n"
        "try:\n    fail('hunter' + '2')\n"
        "except ValueError:\n"
        "    structlog.configure(processors=[structlog.dev.ConsoleRenderer()])\n"
        "    structlog.get_logger().error('oh', exc_info=True)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "ValueError" in told
    assert "hunter2" not in told
