"""`./dev test`: all tests, stage by stage. Each stage runs on the system that it tests.

    ./dev test [unit] [postgresql] [userspace] [guest] [kernel] [smp] [ARGUMENT OF PYTEST...]

If a stage fails, the later stages still run. The exit status is 0 only if all stages passed. A stage that finds no test
has failed. Arguments that select tests (-k, -m, tests/...) may leave some stages empty, but not all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GUEST_LIMIT = "10800"
"""Seconds after which a guest is taken to hang. This is far more than a guest takes on a quiet machine, because many
guests share two CPUs."""

STAGE_LIMIT = 3000.0
"""Seconds after which what still runs of a stage is interrupted: pytest then shows where it was. No stage takes half of
this on a quiet machine."""

_FAREWELL = 120.0
"""Seconds that interrupted tests get to clean up."""

NO_TESTS = 5
"""pytest's exit status if it has no test to run."""


class Stage(NamedTuple):
    """A folder of tests, and where it runs."""

    about: str
    folder: str
    guest: tuple[str, ...] = ()
    """Options of ./dev guest. Without options the stage runs on the host."""
    pytest: tuple[str, ...] = ()
    apart: tuple[tuple[str, ...], ...] = ()
    """Groups of files and folders that run beside the rest, each in its own process or guest. A process uses one CPU,
    the machine has two, and many tests mostly wait."""


STAGES = {
    "unit": Stage("no root, no network", "tests/unit", apart=(("api", "cli", "test_tutorial.py"),)),
    "postgresql": Stage(
        "a PostgreSQL server of the tests' own",
        "tests/postgresql",
        apart=(("api", "cli", "test_tutorial.py", "test_copying.py", "test_pgbouncer.py"),),
    ),
    "userspace": Stage(
        "namespaces with wireguard-go, on this kernel",
        "tests/userspace",
        apart=(
            ("test_gateway.py", "test_eviction.py"),
            ("test_floating.py", "test_fleet_lab.py", "test_demo_fleet.py"),
            ("test_floating_outages.py",),
            ("test_adoption.py", "test_handing_out.py", "test_load.py", "test_remote_registry.py", "test_several.py"),
            ("test_demo.py", "test_flood.py", "test_replay.py", "test_third_client.py"),
            ("test_leaving.py", "test_takeover.py"),
            ("test_routing.py", "test_service_addresses.py", "test_routes.py", "test_strays.py"),
        ),
    ),
    "guest": Stage("the guest kernels themselves", "tests/guest"),
    "kernel": Stage(
        "kernel WireGuard, User-Mode Linux",
        "tests/kernel",
        ("-b", "uml", "-t", GUEST_LIMIT),
        ("-m", "not smp_alone"),
        apart=(
            ("test_gateway.py",),
            ("test_eviction.py", "test_gateway_reliability.py", "test_privileges.py", "test_replay.py"),
            (
                "test_patience.py",
                "test_adoption.py",
                "test_load.py",
                "test_remote_registry.py",
                "test_several.py",
                "test_several_rules.py",
            ),
            ("test_floating.py", "test_fleet_lab.py"),
            ("test_flood.py", "test_vectors.py", "test_handing_out.py"),
            ("test_leaving.py", "test_takeover.py"),
            ("test_routing.py", "test_service_addresses.py"),
        ),
    ),
    "smp": Stage(
        "kernel WireGuard, two CPUs, qemu",
        "tests/kernel",
        ("-b", "tcg", "-t", GUEST_LIMIT),
        ("-m", "smp or smp_alone"),
    ),
}


def command(stage: Stage, arguments: list[str]) -> list[str]:
    """The command line of a stage. Paths among the arguments replace the stage's own folder."""
    paths = [] if any(word.startswith("tests/") for word in arguments) else [stage.folder]
    pytest = [sys.executable, "-m", "pytest", *stage.pytest, *paths, *arguments]
    if not stage.guest:
        return pytest
    return [str(ROOT / "dev"), "guest", *stage.guest, "--", *pytest, "-p", "no:cacheprovider"]


def commands(stage: Stage, arguments: list[str]) -> list[list[str]]:
    """The command lines of a stage, to run side by side. Only a whole stage is split."""
    if not stage.apart or arguments:
        return [command(stage, arguments)]
    groups = [[f"{stage.folder}/{name}" for name in group] for group in stage.apart]
    ignored = [f"--ignore={path}" for group in groups for path in group]
    return [command(stage, [stage.folder, *ignored]), *(command(stage, group) for group in groups)]


def run(lines: list[list[str]], limit: float = STAGE_LIMIT) -> int:
    """Run a stage's commands side by side to their end, or for `limit` seconds. If this process has to end, let the
    commands clean up first.

    The first command's output is shown at once, the output of the others afterwards, also if the stage is interrupted.
    Returns the first exit status that is not 0.
    """
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in lines[1:]]
        processes = [subprocess.Popen(lines[0], cwd=ROOT)]
        for words, output in zip(lines[1:], kept, strict=True):
            processes.append(subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT))

        def pass_on(number: int, _frame: FrameType | None) -> None:
            # SIGINT, since pytest then shows which test runs and where it is.
            _interrupt(processes)
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            _wait(processes, limit)
            statuses = [process.wait() for process in processes]
        except KeyboardInterrupt:  # a terminal sent it to the stage too
            for process in processes:
                process.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
            for words, output in zip(lines[1:], kept, strict=True):
                output.seek(0)
                paths = " ".join(word for word in words if word.startswith("tests/"))
                print(f"--- beside it: {paths}\n{output.read()}", flush=True)
        return next((status for status in statuses if status), 0)


def _wait(processes: list[subprocess.Popen[bytes]], limit: float) -> None:
    """Wait for the end of all. Interrupt those that run for longer than `limit` seconds; end them if that is no use."""
    until = time.monotonic() + limit
    with contextlib.suppress(subprocess.TimeoutExpired):
        for process in processes:
            process.wait(until - time.monotonic())
        return
    print(f"\n=== still running after {limit:.0f} s: interrupted", flush=True)
    _interrupt(processes)
    until = time.monotonic() + _FAREWELL
    for process in processes:
        try:
            process.wait(until - time.monotonic())
        except subprocess.TimeoutExpired:
            process.kill()


def _interrupt(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def preparing(backends: list[str]) -> Iterator[None]:
    """Prepare guest kernels in the background, at low priority, while the first stages run without them.

    This prints nothing. A stage that needs a guest waits for it, or prepares it again and shows the error.
    """
    script = "; ".join(f"nice ./dev guest --prepare -b {backend}" for backend in backends) or ":"
    aside = subprocess.Popen(
        ["sh", "-c", script], cwd=ROOT, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        if aside.poll() is None:
            os.killpg(aside.pid, signal.SIGTERM)
        aside.wait()


def main(arguments: list[str]) -> int:
    # A shell that starts us in the background makes us ignore SIGINT, and our child processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = []
    while arguments and arguments[0] in STAGES:
        names.append(arguments.pop(0))
    names = names or list(STAGES)
    backends = {STAGES[name].guest[1]: None for name in names if STAGES[name].guest}
    with preparing(list(backends) if len(names) > 1 else []):
        return run_all(names, arguments)


def run_all(names: list[str], arguments: list[str]) -> int:
    """Run the stages in order and print their results. Returns the exit status."""
    results: list[tuple[str, str, int, float]] = []
    for name in names:
        stage = STAGES[name]
        print(f"\n=== {name}: {stage.about}", flush=True)
        started = time.monotonic()
        try:
            status = run(commands(stage, arguments))
        except KeyboardInterrupt:
            print(f"\n=== {name}: interrupted", flush=True)
            return 130
        results.append((name, stage.about, status, time.monotonic() - started))

    excused = {NO_TESTS} if arguments and any(status != NO_TESTS for _, _, status, _ in results) else set()
    print("\n=== stages")
    for name, about, status, seconds in results:
        outcome = "passed" if not status else "no tests" if status == NO_TESTS else f"FAILED ({status})"
        print(f"{name:10}  {outcome:12}  {seconds:6.0f} s  {about}")
    return 0 if all(not status or status in excused for _, _, status, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
