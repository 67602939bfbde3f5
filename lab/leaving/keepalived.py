"""keepalived in a namespace: Debian's, with a configuration and a folder of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from lab.netns import Namespace

LONG = 60.0


class Keepalived:
    """A running keepalived. The lab ends it, if nobody does before."""

    def __init__(self, namespace: Namespace, configuration: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it. Its scripts get `environment`, too. Raises CommandFailed if it does not like the configuration."""
        folder = namespace.lab.folder
        self._file = folder / f"{namespace.name}.keepalived.conf"
        self._file.write_text(configuration)
        self._file.chmod(0o644)  # another mode than this it calls suspicious
        namespace.run("keepalived", "--config-test", "--use-file", self._file)
        self.log = folder / f"{namespace.name}.keepalived.log"
        pids = [folder / f"{namespace.name}.{name}.pid" for name in ("keepalived", "vrrp")]
        with self.log.open("w") as log:
            self.process = namespace.popen(
                "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", self._file,
                "--pid", pids[0], "--vrrp_pid", pids[1],
                stdout=log, stderr=subprocess.STDOUT, env=None if environment is None else dict(environment),
            )  # fmt: skip

    def close(self) -> None:
        """End it by SIGTERM, and wait for that: it gives its address up."""
        self.process.terminate()
        self.process.wait(timeout=LONG)
