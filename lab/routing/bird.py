"""BIRD 2 in a namespace: Debian's bird2, with a configuration, a folder and a control socket of its own."""

from __future__ import annotations

import re
import subprocess

from lab.netns import CommandFailed, Namespace, run
from lab.registry_service import wait_until

LONG = 60.0


class Bird:
    """A running BIRD. The lab ends it, if nobody does before."""

    def __init__(self, namespace: Namespace, configuration: str) -> None:
        """Start it and wait until it answers. Raises CommandFailed with its words if it does not like something."""
        self.namespace = namespace
        folder = namespace.lab.folder
        self._socket = folder / f"{namespace.name}.bird.ctl"
        self._file = folder / f"{namespace.name}.bird.conf"
        self._file.write_text(configuration)
        run("bird", "-p", "-c", self._file)  # parses, and no more
        self.log = folder / f"{namespace.name}.bird.log"
        with self.log.open("w") as log:
            self.process = namespace.popen(
                "bird", "-f", "-c", self._file, "-s", self._socket, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._answers, LONG)

    def _answers(self) -> bool:
        try:
            self.ask("show", "status")
        except CommandFailed:
            return False
        return True

    def ask(self, *words: str) -> str:
        """What birdc says to a command."""
        return run("birdc", "-r" if words[0] == "show" else "-v", "-s", self._socket, *words)

    def routes(self, *words: str) -> dict[str, str]:
        """The best routes, by prefix: the line that says where each leads. `words` choose among them."""
        lines = self.ask("show", "route", "primary", *words).splitlines()
        found: dict[str, str] = {}
        prefix = ""
        for line in lines:
            if match := re.match(r"([0-9a-f.:]+/\d+)\s+(unicast.*)", line):
                prefix = match[1]
                found[prefix] = match[2]
            elif prefix and line.startswith("\t"):
                found[prefix] += " " + line.strip()
        return found

    def count(self, *words: str) -> int:
        """The number of routes that `words` choose."""
        numbers = re.findall(r"^(\d+) of \d+ routes", self.ask("show", "route", *words, "count"), re.MULTILINE)
        return sum(map(int, numbers))

    def is_established(self, protocol: str) -> bool:
        """Whether a BGP session is up."""
        return "Established" in self.ask("show", "protocols", protocol)

    def change(self, command: str, *words: str) -> None:
        """Enable, disable or reload a protocol."""
        self.ask(command, *words)

    def close(self) -> None:
        """End it by SIGTERM, and wait for that: its BGP sessions are closed."""
        self.process.terminate()
        self.process.wait(timeout=LONG)

    def kill(self) -> None:
        """End it by SIGKILL, as a power cut does."""
        self.process.kill()
        self.process.wait()
