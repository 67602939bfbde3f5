"""`./dev test`: which command a stage is, and what the whole comes to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import stages

ROOT = Path(__file__).parents[3]


def test_a_stage_on_the_host_is_pytest_over_its_folder() -> None:
    assert stages.command(stages.STAGES["unit"], ["-x"]) == [sys.executable, "-m", "pytest", "tests/unit", "-x"]


def test_a_stage_in_a_guest_is_pytest_behind_dev_guest() -> None:
    words = stages.command(stages.STAGES["smp"], [])
    split = words.index("--")
    assert words[:4] == [str(ROOT / "dev"), "guest", "-b", "tcg"]
    assert words[split + 1 : split + 7] == [sys.executable, "-m", "pytest", "-m", "smp or smp_alone", "tests/kernel"]


@pytest.mark.parametrize("name", ["unit", "userspace", "kernel"])
def test_what_runs_beside_the_rest_is_there_and_is_not_in_the_rest(name: str) -> None:
    stage = stages.STAGES[name]
    rest, *beside = stages.commands(stage, [])
    paths = [word for words in beside for word in words if word.startswith("tests/")]
    assert len(beside) == len(stage.apart) > 0
    assert stage.folder in rest
    assert all((ROOT / path).exists() for path in paths)
    assert {word for word in rest if word.startswith("--ignore=")} == {f"--ignore={path}" for path in paths}


def test_what_ran_beside_is_named_by_its_paths_and_its_failure_counts(capfd: pytest.CaptureFixture[str]) -> None:
    fails = [sys.executable, "-c", "print('beside'); raise SystemExit(3)", "tests/a", "tests/b"]
    assert stages.run([[sys.executable, "-c", "print('first')"], fails]) == 3
    assert capfd.readouterr().out == "first\n--- beside it: tests/a tests/b\nbeside\n\n"


def test_what_hangs_is_interrupted_and_what_it_printed_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    # A shell that started the tests in the background made them, and so this, ignore SIGINT.
    hears = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    hangs = [sys.executable, "-c", f"{hears}; print('hangs', flush=True); time.sleep(3600)", "tests/a"]
    shown = [sys.executable, "-c", "print('first')"]
    assert stages.run([shown, hangs], limit=2.0) != 0
    out = capfd.readouterr().out
    assert "still running after 2 s: interrupted" in out
    assert "--- beside it: tests/a\n" in out


def test_paths_stand_for_the_stages_folder() -> None:
    words = stages.command(stages.STAGES["kernel"], ["tests/kernel/test_lab.py::TestLab", "-k", "lab"])
    assert "tests/kernel" not in words
    assert "tests/kernel/test_lab.py::TestLab" in words


def test_every_folder_of_tests_is_a_stage_or_shared() -> None:
    folders = {path.parent.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders == {Path(stage.folder).name for stage in stages.STAGES.values()}


@pytest.mark.parametrize(
    ("statuses", "arguments", "expected"),
    [
        ([0, 0], [], 0),
        ([1, 0], [], 1),
        ([0, 124], [], 1),
        ([0, 5], [], 1),  # a stage without tests has failed ...
        ([0, 5], ["-k", "some"], 0),  # ... unless it was left without on purpose ...
        ([5, 5], ["-k", "none"], 1),  # ... and not all were
    ],
)
def test_all_stages_run_and_any_failure_counts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    statuses: list[int],
    arguments: list[str],
    expected: int,
) -> None:
    left = list(statuses)
    monkeypatch.setattr(stages, "run", lambda words: left.pop(0))
    monkeypatch.setattr(stages, "preparing", lambda backends: contextlib.nullcontext())
    assert stages.main(["unit", "userspace", *arguments]) == expected
    assert left == []
    table = capsys.readouterr().out.partition("=== stages\n")[2].splitlines()
    assert [line.split()[0] for line in table] == ["unit", "userspace"]


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_skip_is_told_and_fails_where_nobody_looks(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "test_skip.py").write_text(
        "import pytest\n\ndef test_one(): pytest.skip('no')\n\ndef test_two(): pass\n"
    )
    pytest_here = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    done = subprocess.run(
        [*pytest_here, "-p", "tests.conftest", tmp_path],
        cwd=ROOT, env=os.environ | {"CI": ci}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    assert "SKIPPED: 1" in done.stdout
    assert "test_skip.py::test_one" in done.stdout
