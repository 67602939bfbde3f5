"""A benchmark's report: machine, tables, plots. It is printed and, with --write, put into docs/PERFORMANCE.md.

    report = Report("storm", options.write)
    report.head()
    report.table(("gateway", "seconds"), [("hold", "1.2")])
    report.plot("storm", bench.plot.lines(...))
    report.finish()

On the page, a benchmark's part lies between two markers, `<!-- bench:storm -->` and `<!-- /bench:storm -->`, each on
its own line. --write replaces only this part. The text around it is written by hand and stays.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "PERFORMANCE.md"
PLOTS = ROOT / "docs" / "plots"


class NoSection(Exception):
    """The page has no place for this bench; the text names the markers that are missing."""


@dataclass(frozen=True)
class Machine:
    """Where and on what a bench ran."""

    cpu: str
    """The processor's model; inside a guest that of the host."""
    cores: int
    """As this kernel sees them."""
    kernel: str
    date: str
    """UTC, to the day."""
    commit: str
    dirty: bool
    """The code differs from the commit; docs/ does not count, which --write changes."""

    @classmethod
    def here(cls) -> Machine:
        """This one, now."""
        commit = _git("rev-parse", "--short=10", "HEAD")
        return cls(
            cpu=os.environ.get("WGJIT_GUEST_HOST") or cpu_model(Path("/proc/cpuinfo").read_text()),
            cores=os.cpu_count() or 1,
            kernel=kernel_name(platform.release(), os.environ.get("WGJIT_GUEST", "")),
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            commit=commit or "no commit",
            dirty=bool(_git("status", "--porcelain", "--", ".", ":!docs")),
        )

    def __str__(self) -> str:
        cores = "1 CPU" if self.cores == 1 else f"{self.cores} CPUs"
        changed = ", changed since" if self.dirty else ""
        return f"{self.kernel}, {cores} ({self.cpu}), {self.date}, commit {self.commit}{changed}"


def cpu_model(cpuinfo: str) -> str:
    """The processor that /proc/cpuinfo names."""
    found = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def kernel_name(release: str, guest: str) -> str:
    """What the kernel is; `guest` as ./dev guest sets WGJIT_GUEST."""
    return {"uml": "User-Mode Linux", "tcg": "Linux in emulated hardware"}.get(guest, "Linux") + f" {release}"


def _git(*words: str) -> str:
    """What git says; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option --write, which every bench that has a report takes. In a guest, `./dev bench` shares docs/ for it."""
    parser.add_argument("--write", action="store_true", help=f"put the result into {PAGE.relative_to(ROOT)}")


def check_above_zero(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    """End with a usage error if one of these numbers is not above 0."""
    for name in names:
        if getattr(options, name) <= 0:
            parser.error(f"--{name} {getattr(options, name)}: must be above 0")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Raises ValueError for a row that is longer or shorter than the head."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"table row {row}: {len(row)} cells, the head has {len(head)}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def replaced(page: str, name: str, body: str) -> str:
    """The page with another body between this bench's markers. Raises NoSection."""
    begin, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->\n"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise NoSection(f"{PAGE.name}: needs the two lines {begin.strip()} and {end.strip()}, in this order")
    return f"{before}{begin}{body.strip()}\n{end}{after}"


def section_for(name: str, backend: str) -> str:
    """The section of a bench by whose WireGuard it ran with: wireguard-go's has one of its own."""
    return f"{name}-go" if backend == "go" else name


class Report:
    """What one run of a bench tells. All of it is printed at once; `finish` writes the page, if that is wanted."""

    def __init__(
        self, name: str, write: bool = False, *, section: str | None = None, page: Path = PAGE, plots: Path = PLOTS
    ) -> None:
        """`section` names the markers where a bench has several places; by default `name`, that of the command.

        Raises NoSection if it is to be written and the page has no place for it: before the bench runs.
        """
        self.name = name
        self._section = section or name
        self._write, self._page, self._plots = write, page, plots
        self._parts: list[str] = []
        self._svgs: dict[str, str] = {}
        if write:
            replaced(page.read_text(), self._section, "")

    def head(self, words: Sequence[str] | None = None) -> None:
        """The command and the machine. `words`: the bench's arguments, by default those of this process."""
        given = [word for word in (sys.argv[1:] if words is None else words) if word != "--write"]
        self.say(f"`{shlex.join(['./dev', 'bench', self.name, *given])}`: {Machine.here()}.")

    def say(self, text: str) -> None:
        """A paragraph."""
        print(f"\n{text}", flush=True)
        self._parts.append(text)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table, printed row by row as the rows come."""
        lines = markdown(head, []).split("\n")
        print("\n" + "\n".join(lines), flush=True)
        for row in rows:
            lines.append(markdown(head, [row]).rpartition("\n")[2])
            print(lines[-1], flush=True)
        self._parts.append("\n".join(lines))

    def plot(self, name: str, svg: str, title: str) -> None:
        """A plot for the page, docs/plots/NAME.svg; `title` is what is read in its place. Not printed."""
        self._svgs[name] = svg
        self._parts.append(f"![{title}](plots/{name}.svg)")

    def conclude(self, missed: Sequence[str]) -> int:
        """Tell which goals were missed, and finish. Returns the command's exit status."""
        self.say("\n".join(f"MISSED {line}" for line in missed) or "all goals reached")
        self.finish()
        return 1 if missed else 0

    def finish(self) -> None:
        """Write the page and its plots, if wanted. The markers are found: the constructor looked for them."""
        if not self._write:
            return
        self._plots.mkdir(exist_ok=True)
        for name, svg in self._svgs.items():
            (self._plots / f"{name}.svg").write_text(svg)
        self._page.write_text(replaced(self._page.read_text(), self._section, "\n\n".join(self._parts)))
        print(f"\nwritten to {self._page}", file=sys.stderr)
