"""`./dev mutants`: break modules of core, wire and stores in small ways, and list the breaks that no test notices."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lab.mutants import reach
from lab.mutants.run import SLOW, Run, said
from lab.mutants.session import SURVIVORS, Session
from lab.mutants.trial import Bench, Outcome

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "wgjit"

SUITES = {
    "core": ["tests/unit/core"],
    "wire": ["tests/unit/wire", "tests/unit/core"],
    "stores": ["tests/unit/stores"],
}
"""The tests near a package of wgjit; the nearest folder is the first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if no break survived, else 1."""
    options = _parse(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * options.minutes
    survivors = 0
    for package, tests in SUITES.items():
        modules = [path for path in options.modules if path.relative_to(PACKAGE).parts[0] == package]
        if modules and not options.list:
            _try(package, options.tests or tests, modules, options, ends)
        survivors += sum(_tell(path, options.folder) for path in modules)
    return int(survivors > 0)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="src/wgjit/wire/noise.py, wire/noise.py, core, ...")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end after so long; a later run goes on")
    parser.add_argument("--again", action="store_true", help="try survivors again, with the tests as they are now")
    parser.add_argument("--quick", action="store_true", help=f"leave out tests that take {SLOW:g} s or more")
    parser.add_argument("--cold", action="store_true", help="import the package anew for each break")
    parser.add_argument("--warm", action="store_true", help="leave out breaks that need that")
    parser.add_argument("--list", action="store_true", help="try nothing: list what earlier runs have found")
    parser.add_argument("--tests", action="append", metavar="PATH", help="other tests than those near the package")
    parser.add_argument("--folder", type=Path, default=_cache(), help="where outcomes are kept (%(default)s)")
    options = parser.parse_args(arguments)
    options.modules = []
    for word in options.paths or SUITES:
        found = _modules(word)
        if not found:
            parser.error(f"{word}: no module of {', '.join(SUITES)}")
        options.modules += [path for path in found if path not in options.modules]
    return options


def _modules(word: str) -> list[Path]:
    """The modules that a word names: a path, or one below the package."""
    for place in (Path(word).resolve(), PACKAGE / word, PACKAGE / f"{word}.py"):
        if place.exists() and place.is_relative_to(PACKAGE) and place != PACKAGE:
            found = [place] if place.is_file() else sorted(place.rglob("*.py"))
            return [
                path for path in found if path.relative_to(PACKAGE).parts[0] in SUITES and path.name != "__init__.py"
            ]
    return []


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wgjit" / "mutants"


def _try(package: str, tests: list[str], modules: list[Path], options: argparse.Namespace, ends: float) -> None:
    if options.again:
        for path in modules:
            with _session(path, options.folder) as session:
                session.forget_survivors()
    bench = Bench(ROOT, options.folder / f"bench-{os.getpid()}")
    try:
        known = _reach(bench, package, tests, options.folder)
        bench.prepare(known.modules)
        names = [str(path.relative_to(SOURCE)) for path in modules]
        run = Run(bench, known, names, options.folder, ends, options.quick)
        if not options.cold:
            run.warm(tests)
        if not options.warm:
            run.cold()
    finally:
        bench.remove()


def _reach(bench: Bench, package: str, tests: list[str], folder: Path) -> reach.Reach:
    named = reach.digest([PACKAGE, *(ROOT / test for test in tests)])
    path = folder / f"reach-{package}-{named}.json"
    if not path.exists():
        print(f"measuring which lines {' and '.join(tests)} execute", file=sys.stderr, flush=True)
        status = bench.run(lambda arguments: reach.measure(bench.source, [*arguments, *tests], path))
        if status:
            path.unlink(missing_ok=True)
            sys.exit(f"{bench.output()}\n./dev mutants: without a break the tests end with status {status}")
    return reach.load(path)


def _session(path: Path, folder: Path) -> Session:
    return Session(folder, str(path.relative_to(SOURCE)), path.read_text())


def _tell(path: Path, folder: Path) -> int:
    """Print a module's outcomes and list its survivors; give their number."""
    with _session(path, folder) as session:
        found = session.all()
    counts = Counter(outcome for _, outcome in found)
    numbers = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    if counts[None]:
        numbers.append(f"{counts[None]} not tried")
    print(f"{path.relative_to(SOURCE)} at {_commit(path)}: {len(found)} breaks", *numbers, sep=", ")
    survivors = [(one, outcome) for one, outcome in found if outcome in SURVIVORS]
    for one, outcome in survivors:
        print(f"  {outcome} {said(path.read_text(), one)}")
    return len(survivors)


def _commit(path: Path) -> str:
    words = ("git", "-C", ROOT, "log", "-1", "--format=%h", "--", path)
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main())
