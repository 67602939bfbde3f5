"""Queue rules by iptables, for kernels without nft's queue expression.

There is one rule in mangle INPUT per family, which runs the capture filter as BPF. It comes before the filter chains,
so packets are held that the firewall will drop. There is no dead-man switch. The rules of a dead daemon are passed over
(`--queue-bypass`). But a daemon that is stuck with its queue open holds knocks until the queue is full and fails open.
"""

from __future__ import annotations

import os
import shlex
import shutil

from wgjit.drivers.capture.rules import run
from wgjit.errors import CaptureError
from wgjit.wire.bpf import capture_filter

_LOCK_SECONDS = "2"  # time to wait for another program that holds the lock
_PROGRAMS = {4: ("iptables", "iptables-legacy"), 6: ("ip6tables", "ip6tables-legacy")}


class XtRules:
    """Rules made and removed with the `iptables` programs: for each family, the first that the kernel accepts."""

    def __init__(self, interface: str, port: int, queue: int) -> None:
        self._comment = f"wgjit:{interface}"
        self._programs: list[str] = []
        self._asked = 0
        bytecode = capture_filter(port).xt_bytecode()
        self._rule = (
            f'-A INPUT -p udp -m udp --dport {port} -m bpf --bytecode "{bytecode}" '
            f"-m comment --comment {shlex.quote(self._comment)} -j NFQUEUE --queue-num {queue} --queue-bypass"
        )

    def install(self) -> None:
        """Put the rules in force, in one transaction per family. They replace older rules of this interface."""
        self._programs.clear()
        families = [4, 6] if os.path.exists("/proc/thread-self/net/if_inet6") else [4]
        for family in families:
            self._install(_PROGRAMS[family])

    def _install(self, programs: tuple[str, ...]) -> None:
        failures: list[str] = []
        done = False
        for program in _installed(programs):
            try:
                self._replace(program, "" if done else self._rule)
            except CaptureError as error:
                failures.append(str(error))
            else:
                if not done:
                    self._programs.append(program)
                done = True
        if not done:
            raise CaptureError("; ".join(failures) or f"{programs[0]}: not installed")

    def _replace(self, program: str, rule: str) -> None:
        """Delete wgjit's rules and add `rule`, if there is one, in one transaction."""
        old = ["-D" + line[2:] for line in self._ours(program)]
        if old or rule:
            script = "\n".join(["*mangle", *old, *([rule] if rule else []), "COMMIT", ""])
            run(f"{program}-restore", "-w", _LOCK_SECONDS, "-n", stdin=script)

    def _ours(self, program: str, *options: str) -> list[str]:
        listing = run(program, "-w", _LOCK_SECONDS, "-t", "mangle", *options, "-S", "INPUT")
        return [line for line in listing.splitlines() if line.startswith("-A") and self._comment in shlex.split(line)]

    def heartbeat(self) -> None:
        """Do nothing, since these rules do not expire."""

    def asked(self) -> int:
        """Packets that the rules sent to the queue. This runs the programs, which takes some milliseconds each."""
        try:
            rules = [shlex.split(rule) for program in self._programs for rule in self._ours(program, "-v")]
        except CaptureError:  # another program holds the firewall's lock: return the last known number
            return self._asked
        self._asked = sum(int(words[words.index("-c") + 1]) for words in rules)
        return self._asked

    def disarm(self) -> None:
        """Delete wgjit's rules from all programs. Their chain stays, so the kernel drops no waiting packet."""
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
