"""`./dev fuzz`: run the fuzzers, two at a time on two processors, and print what they found.

Each fuzzer begins with the committed corpus and with the finds of earlier runs. An input that breaks an invariant ends
its fuzzer. The input is printed in hex with the command that runs it again, and the exit status is 1. The exit status
is also 1 if a fuzzer executed nothing but its corpus, for whatever reason.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from fuzz import FUZZERS
from fuzz.corpus import Input, load, save

SECONDS = 60
PATIENCE = 10
"""Seconds that one input may take: more is a hang. A typical one takes 0.0001."""
MEMORY = 1024
"""MiB that a fuzzer may take."""
LONGEST = 4096
"""Bytes in an input."""
COMMITTED = 3 * 1024
"""Bytes of inputs without a name that the committed corpus of a fuzzer may hold."""

_ROOT = Path(__file__).resolve().parents[1]
_ARTIFACTS = ("crash-", "timeout-", "oom-")


class Outcome(NamedTuple):
    name: str
    executions: int
    coverage: int
    """Branches reached, as libFuzzer counts them."""
    found: int
    """Inputs in the folder of finds."""
    told: str
    """What it printed: the traceback alone, if there is one."""
    broken: Path | None
    """The input that broke the invariant."""
    fault: str
    """Why the run failed; empty if it did not."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    names = options.names or FUZZERS
    if options.input is not None:
        return _run_again(names, options.input)
    if options.minimise:
        for name in names:
            _minimise(name, options.finds / name)
        return 0
    if not importlib.util.find_spec("atheris"):
        print("./dev fuzz: atheris has no wheel for this machine; `./dev unit` replays the corpus", file=sys.stderr)
        return 1
    print(f"{'fuzzer':8}  {'seconds':>7}  {'executions':>10}  {'branches':>8}  {'finds':>5}  outcome", flush=True)
    failed = False
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda name: _fuzz(name, options.seconds, options.finds / name), names):
            failed |= bool(outcome.fault)
            _tell(outcome, options.seconds)
    return int(failed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description="Fuzz all that reads bytes of others.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(FUZZERS)}; all by default")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each fuzzer (%(default)s)")
    parser.add_argument("--jobs", type=int, default=min(2, len(os.sched_getaffinity(0))), help="fuzzers at a time")
    parser.add_argument("--finds", type=Path, default=_cache(), help="folder for what is found (%(default)s)")
    parser.add_argument("--input", metavar="HEX", help="run one input again, without atheris, and show what it raises")
    parser.add_argument("--minimise", action="store_true", help="take the finds that reach new code into fuzz/corpus")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in FUZZERS:
            parser.error(f"no fuzzer {name!r}: there are {', '.join(FUZZERS)}")
    if options.input is not None and len(options.names) != 1:
        parser.error("--input: name the one fuzzer that it is for")
    if options.seconds < 1 or options.jobs < 1:
        parser.error("--seconds and --jobs: must be 1 or more")
    return options


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wgjit" / "fuzz"


def _engine(name: str, *words: str | Path) -> list[str]:
    limits = (f"-timeout={PATIENCE}", f"-rss_limit_mb={MEMORY}", f"-max_len={LONGEST}")
    return [sys.executable, "-m", "fuzz.engine", name, *limits, *map(str, words)]


def _unpack(name: str, folder: Path) -> int:
    """The committed corpus as the files that libFuzzer reads; gives their number."""
    inputs = load(name)
    for number, one in enumerate(inputs):
        (folder / f"{number:04}").write_bytes(one.data)
    return len(inputs)


def _fuzz(name: str, seconds: int, finds: Path) -> Outcome:
    finds.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="wgjit-fuzz-") as corpus:
        seeds = _unpack(name, Path(corpus))
        # What broke lies beside the finds, not among them: else it would end each later run at once.
        broken = finds.with_name(f"{name}-broken")
        broken.mkdir(exist_ok=True)
        words = (f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={broken}/", finds, corpus)
        done = subprocess.run(_engine(name, *words), cwd=_ROOT, capture_output=True, text=True, errors="replace")
    log = done.stderr
    executions = _last_number(r"stat::number_of_executed_units:\s*(\d+)", log)
    fresh = [path for path in broken.iterdir() if path.name.startswith(_ARTIFACTS) and path.stat().st_mtime >= started]
    fault = ""
    if done.returncode or fresh:
        fault = "BROKEN" if fresh else f"FAILED ({done.returncode})"
    elif executions <= seeds:
        fault = "FAILED (it executed nothing of its own)"
    coverage = _last_number(r" cov: (\d+)", log)
    told = done.stdout.strip() or log[-4000:].strip()
    return Outcome(name, executions, coverage, len(list(finds.iterdir())), told, fresh[0] if fresh else None, fault)


def _last_number(pattern: str, text: str) -> int:
    return int([0, *re.findall(pattern, text)][-1])


def _tell(outcome: Outcome, seconds: int) -> None:
    name, executions, coverage, found, told, broken, fault = outcome
    verdict = fault or "holds"
    print(f"{name:8}  {seconds:7}  {executions:10,}  {coverage:8,}  {found:5,}  {verdict}", flush=True)
    if not fault:
        return
    print(told)
    if broken is not None:
        data = broken.read_bytes().hex()
        print(f"\n{name}: the input is {broken}\n{data}\nRun it again:\n./dev fuzz {name} --input {data or repr('')}\n")


def _run_again(names: Sequence[str], data: str) -> int:
    """Let it raise: the traceback is the answer."""
    importlib.import_module(f"fuzz.{names[0]}").check(bytes.fromhex(data))
    print("holds")
    return 0


def _minimise(name: str, finds: Path) -> None:
    """Named inputs stay. Of the rest, as many of the shortest as fit that together reach what all reach."""
    before = load(name)
    named = [one for one in before if one.about]
    with tempfile.TemporaryDirectory(prefix="wgjit-fuzz-") as made:
        target, rest = Path(made, "target"), Path(made, "rest")
        for folder in (target, rest, finds):
            folder.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(before):
            folder = target if one.about else rest
            (folder / f"{number:04}").write_bytes(one.data)
        words = _engine(name, "-merge=1", target, rest, finds)
        subprocess.run(words, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known = {one.data for one in named}
        new = sorted({path.read_bytes() for path in target.iterdir()} - known, key=lambda data: (len(data), data))
    kept: list[Input] = []
    for data in new:
        if sum(len(one.data) for one in kept) + len(data) > COMMITTED:
            break
        kept.append(Input(data))
    save(name, named + kept)
    print(f"{name}: {len(named)} named inputs, {len(kept)} of {len(new)} that reach more")


if __name__ == "__main__":
    sys.exit(main())
