"""Queue rules by iptables, for kernels without nft's queue expression.

There is one rule in mangle INPUT per family, which runs the capture filter as BPF. It comes before the filter chains,
so packets are held that the firewall will drop. There is no dead-man switch. The rules of a dead daemon are passed over
(`--queue-bypass`). But a daemon that is stuck with its queue open holds knocks until the queue is full and fails open.

No message tells that another program has taken the rules away. So a thread looks for them every `CHECK` seconds, and
puts them back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from wgjit.drivers.capture.rules import run
from wgjit.errors import CaptureError
from wgjit.wire.bpf import capture_filter

_LOCK_SECONDS = "2"  # time to wait for another program that holds the lock
CHECK = 2.0
"""Seconds between two looks for the rules: two programs of some 5 ms of CPU each."""

_PROGRAMS = {4: ("iptables", "iptables-legacy"), 6: ("ip6tables", "ip6tables-legacy")}


class XtRules:
    """Rules made and removed with the `iptables` programs: for each family, the first that the kernel accepts."""

    def __init__(self, interface: str, port: int, queue: int) -> None:
        self._comment = f"wgjit:{interface}"
        self._programs: list[str] = []
        self._earlier = self._asked = 0
        self._turn = threading.Lock()  # the look for the rules and a reader of their counters are on two threads
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wgjit-rules")
        self._look: Future[bool] | None = None
        self._due = 0.0
        bytecode = capture_filter(port).xt_bytecode()
        self._rule = (
            f'-A INPUT -p udp -m udp --dport {port} -m bpf --bytecode "{bytecode}" '
            f"-m comment --comment {shlex.quote(self._comment)} -j NFQUEUE --queue-num {queue} --queue-bypass"
        )

    def install(self) -> None:
        """Put the rules in force, in one transaction per family. They replace older rules of this interface."""
        self._put_in()
        self._thread.submit(int)  # the thread begins here, and so in this network namespace, whoever calls heartbeat
        self._due = time.monotonic() + CHECK

    def _put_in(self) -> None:
        families = [4, 6] if os.path.exists("/proc/thread-self/net/if_inet6") else [4]
        self._programs = [self._install(_PROGRAMS[family]) for family in families]

    def _install(self, programs: tuple[str, ...]) -> str:
        """Put the rule in by the first program that the kernel accepts, and return that program."""
        failures: list[str] = []
        taken: str | None = None
        for program in _installed(programs):
            try:
                self._replace(program, "" if taken else self._rule)
            except CaptureError as error:
                failures.append(str(error))
            else:
                taken = taken or program
        if taken is None:
            raise CaptureError("; ".join(failures) or f"{programs[0]}: not installed")
        return taken

    def _replace(self, program: str, rule: str) -> None:
        """Delete wgjit's rules and add `rule`, if there is one, in one transaction."""
        old = ["-D" + line[2:] for line in self._ours(program)]
        if old or rule:
            script = "\n".join(["*mangle", *old, *([rule] if rule else []), "COMMIT", ""])
            run(f"{program}-restore", "-w", _LOCK_SECONDS, "-n", stdin=script)

    def _ours(self, program: str, *options: str) -> list[str]:
        listing = run(program, "-w", _LOCK_SECONDS, "-t", "mangle", *options, "-S", "INPUT")
        return [line for line in listing.splitlines() if line.startswith("-A") and self._comment in shlex.split(line)]

    def heartbeat(self) -> bool:
        """Have the thread look for the rules, if it is time. Returns True if its last look put them back. Never waits.

        Raises CaptureError if the rules could not be looked for, or not be put back.
        """
        put_back = False
        if self._look is not None and self._look.done():
            look, self._look = self._look, None
            put_back = look.result()
        if self._look is None and time.monotonic() >= self._due:
            self._due = time.monotonic() + CHECK
            self._look = self._thread.submit(self._keep)
        return put_back

    def _keep(self) -> bool:
        """Put the rules back if one is gone. Returns whether that was so."""
        with self._turn:
            if all(len(self._ours(program)) == 1 for program in self._programs):
                return False
            self._earlier, self._asked = self._earlier + self._asked, 0  # new rules count from 0
            self._put_in()
            return True

    def asked(self) -> int:
        """Packets that the rules sent to the queue. This runs the programs, which takes some milliseconds each."""
        with self._turn:
            try:
                rules = [shlex.split(rule) for program in self._programs for rule in self._ours(program, "-v")]
            except CaptureError:  # another program holds the firewall's lock: return the last known number
                return self._earlier + self._asked
            counted = sum(int(words[words.index("-c") + 1]) for words in rules)
            self._asked = max(self._asked, counted)  # fewer: a rule is gone, with its counter
            return self._earlier + self._asked

    def beyond(self) -> int:
        """Always 0, since these rules limit no source."""
        return 0

    def disarm(self) -> None:
        """Delete wgjit's rules from all programs. Their chain stays, so the kernel drops no waiting packet."""
        self._thread.shutdown(cancel_futures=True)  # so that no look puts them back
        for programs in _PROGRAMS.values():
            for program in _installed(programs):
                try:
                    self._replace(program, "")
                except CaptureError:
                    continue  # a program that the kernel refuses has no rules of wgjit

    def remove(self) -> None:
        """Do nothing, since `disarm` leaves no rule."""


def _installed(programs: tuple[str, ...]) -> list[str]:
    return [program for program in programs if shutil.which(program)]
