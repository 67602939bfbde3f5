"""The lab with wireguard-go."""

import re
import signal
import subprocess
import sys

import pytest

from lab.netns import Lab
from lab.wireguard import Backend, CommandFailed, WireGuard, kernel_has_wireguard
from tests.contracts.lab import ROOT, LabContract


class TestLab(LabContract):
    pass


def test_auto_takes_what_there_is(lab: Lab) -> None:
    namespace = lab.namespace("x")
    assert WireGuard(namespace).backend == ("kernel" if kernel_has_wireguard() else "go")


def test_a_wireguard_go_that_cannot_start_says_why(lab: Lab, backend: Backend) -> None:
    namespace = lab.namespace("x")
    with pytest.raises(CommandFailed, match=r"does not start: .*name too long"):
        WireGuard(namespace, backend=backend, name=f"{lab.prefix}-longer-than-the-kernel-takes")


def test_a_name_that_is_taken_in_another_namespace_is_refused(lab: Lab, backend: Backend) -> None:
    first = WireGuard(lab.namespace("x"), backend=backend)
    with pytest.raises(CommandFailed, match="already"):
        WireGuard(lab.namespace("y"), backend=backend, name=first.name)


def test_a_stubborn_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.netns.PATIENCE", 0.2)
    with Lab() as lab:
        script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
        process = lab.namespace("x").popen("sh", "-c", script, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [0, 1], ids=["two ends", "fleet"])
def test_the_examples_of_the_documentation_run(number: int) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "LAB.md").read_text(), re.DOTALL)[number]
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 4
