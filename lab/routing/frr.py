"""FRR in a namespace: Debian's zebra, bgpd and bfdd, as Debian's account `frr`, with a folder of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lab.netns import CommandFailed, Namespace, run
from lab.registry_service import wait_until

DAEMONS = Path("/usr/lib/frr")
LONG = 60.0
BUFFER = "90000000"
"""Bytes of zebra's buffer for the kernel's news, as Debian's /etc/frr/daemons has it."""


class Frr:
    """Running daemons of FRR. The lab ends them, if nobody does before."""

    def __init__(self, namespace: Namespace, configuration: str, *, buffer: str = BUFFER) -> None:
        """Start them and wait until they answer. Raises CommandFailed if they do not like something."""
        self.namespace = namespace
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{namespace.name}-frr-")  # the lab's own is root's alone
        self.folder = Path(self._temporary.name)
        self._file = self.folder / "frr.conf"
        self._file.write_text(configuration)
        (self.folder / "vtysh.conf").write_text("no service integrated-vtysh-config\n")
        for path in (self.folder, *self.folder.iterdir()):
            shutil.chown(path, "frr", "frr")
        self.processes = []
        for name in ("zebra", "bfdd", "bgpd"):
            own = ["-s", buffer] if name == "zebra" else []
            own += ["-p", "179"] if name == "bgpd" else []
            if name == "bfdd":
                own += ["--bfdctl", str(self.folder / "bfdd.sock")]
            with (self.folder / f"{name}.log").open("w") as log:
                self.processes.append(
                    namespace.popen(
                        DAEMONS / name, "-f", self._file, "-i", self.folder / f"{name}.pid",
                        "-z", self.folder / "zserv.api", "--vty_socket", self.folder, "-P", "0",
                        "--log", "stdout", *own,
                        stdout=log, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip
            wait_until(lambda name=name: (self.folder / f"{name}.vty").exists(), LONG)  # type: ignore[misc]
        wait_until(self._answers, LONG)

    def _answers(self) -> bool:
        try:
            self.ask("show bgp summary json")
        except CommandFailed:
            return False
        return True

    def ask(self, command: str) -> str:
        """What vtysh says to a command."""
        return run("vtysh", "--vty_socket", self.folder, "--config_dir", self.folder, "-c", command)

    def answer(self, command: str) -> Any:
        """The same, of a command that ends in `json`."""
        return json.loads(self.ask(command))

    def kernel_routes(self, version: int = 4) -> set[str]:
        """The prefixes that zebra has learnt from the kernel."""
        return set(self.answer(f"show {'ip' if version == 4 else 'ipv6'} route kernel json"))

    def routes(self, version: int = 4) -> dict[str, str]:
        """The best BGP paths: prefix and next hop."""
        answer = self.answer(f"show bgp {'ipv4' if version == 4 else 'ipv6'} unicast json")
        found: dict[str, str] = {}
        for prefix, paths in answer["routes"].items():
            for path in paths:
                if path.get("bestpath"):
                    found[prefix] = str(path["nexthops"][0]["ip"])
        return found

    def is_established(self, neighbor: str) -> bool:
        """Whether a BGP session is up."""
        peers = self.answer("show bgp summary json").get("ipv4Unicast", {}).get("peers", {})
        return bool(peers.get(neighbor, {}).get("state") == "Established")

    def close(self) -> None:
        """End them by SIGTERM, bgpd first: its sessions are closed."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait(timeout=LONG)

    def kill(self) -> None:
        """End them by SIGKILL, as a power cut does."""
        for process in self.processes:
            process.kill()
            process.wait()
