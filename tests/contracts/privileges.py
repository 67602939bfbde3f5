"""The daemon under its own account, with only the two capabilities of its systemd unit, and the secrecy of its key.

The tests run without systemd. setpriv(1) gives the privileges that the unit's lines name.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import WGJIT, Gateway
from lab.netns import UAPI_SOCKETS, Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless

CHECKOUT = Path(__file__).parents[2]
UNIT = CHECKOUT / "packaging" / "wgjit@.service"
ACCOUNT = 64242
"""A user and group that no machine has."""


def unit() -> configparser.SectionProxy:
    """The service section of our unit; of a setting that is there twice, the last."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser["Service"]


def capabilities() -> list[str]:
    """What the unit grants, as setpriv writes it."""
    granted = unit()["AmbientCapabilities"].split()
    assert granted == unit()["CapabilityBoundingSet"].split()
    return [name.removeprefix("CAP_").lower() for name in granted]


def unprivileged() -> list[str]:
    """The command that becomes another one with the unit's account and capabilities."""
    assert unit()["NoNewPrivileges"] == "yes"
    caps = "-all," + ",".join(f"+{name}" for name in capabilities())
    return [
        "setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}",
    ]  # fmt: skip


def through(stage: Path) -> list[str]:
    """The same, in a mount namespace where the account reaches interpreter and checkout, and may run wireguard-go.

    They may lie in somebody's closed home: each closed folder is covered by an open one that has nothing else in it.
    """
    wanted = [Path(sys.base_prefix), Path(sys.prefix), CHECKOUT]
    closed = {
        next(filter(None, (above for above in reversed(path.parents) if not above.stat().st_mode & 1)), None)
        for path in wanted
    } - {None}
    hidden = [path for path in wanted if closed & set(path.parents)]
    stage.mkdir()
    lines = [f"mount -t tmpfs -o mode=0755 tmpfs {stage}"]
    for number, path in enumerate(hidden):
        lines += [f"mkdir -p {stage}/{number}", f"mount --bind {shlex.quote(str(path))} {stage}/{number}"]
    lines += [f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(folder))}" for folder in closed]
    for number, path in enumerate(hidden):
        place = shlex.quote(str(path))
        lines += [f"mkdir -p {place}", f"mount --bind {stage}/{number} {place}"]
    # As tmpfiles.d makes the folder for the account, and udev the device for all; for this process and no other.
    lines += [
        f"mkdir -p {UAPI_SOCKETS}",
        f"mount -t tmpfs -o mode=0750,uid={ACCOUNT},gid={ACCOUNT} tmpfs {UAPI_SOCKETS}",
        f"mknod -m 666 {stage}/tun c 10 200",
        f"mount --bind {stage}/tun /dev/net/tun",
    ]
    script = "; ".join(["set -e", *lines, 'exec "$@"'])
    return ["unshare", "--mount", "sh", "-c", script, "sh", *unprivileged()]


def state(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class PrivilegesContract:
    """Subclass with a `backend`, and with the delivery that this kernel can do with the two capabilities alone."""

    backend: Backend
    delivery: str

    @pytest.fixture
    def site(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            run_folder = lab.folder / "run"
            run_folder.mkdir()
            for path in (lab.folder, run_folder, *lab.folder.glob("peers.db*")):
                os.chown(path, ACCOUNT, ACCOUNT)
            monkeypatch.setenv("WGJIT_RUN_FOLDER", str(run_folder))
            yield site
            site.registry.close()

    @contextlib.contextmanager
    def up(self, site: Site, *options: str, delivery: str | None = None) -> Iterator[Gateway]:
        """The daemon as the unit runs it."""
        if self.backend == "go":
            options += ("--config", str(self._configuration(site)))
        command = through(site.lab.folder / f"stage{time.monotonic_ns()}")
        with Gateway(
            site.gateway,
            site.server.name,
            *options,
            store=site.path,
            delivery=delivery or self.delivery,
            through=command,
        ) as gateway:
            yield gateway

    @staticmethod
    def _configuration(site: Site) -> Path:
        """Let the daemon make the interface with wireguard-go: root's own would not answer to the account."""
        site.server.close()
        key, configuration = site.lab.folder / "key", site.lab.folder / "wg.toml"
        key.write_text(site.server.private_key.reveal_base64())
        os.chown(key, ACCOUNT, ACCOUNT)
        configuration.write_text(
            f'[interface]\nprivate_key_file = "{key}"\naddresses = ["{INSIDE[0]}/16", "{INSIDE[1]}/64"]\n'
            f'listen_port = {PORT}\nbackend = "userspace"\n'
        )
        return configuration

    def test_a_knock_connects_with_these_two_capabilities_alone(self, site: Site) -> None:
        client = site.client()
        with self.up(site, delivery="auto") as gateway:
            process = state(gateway.process.pid)
            assert process["Uid"].split() == process["Gid"].split() == [str(ACCOUNT)] * 4
            assert process["Groups"] == ""
            assert process["NoNewPrivs"] == "1"
            held = {int(process[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
            assert held == {1 << 12 | 1 << 13}  # linux/capability.h: CAP_NET_ADMIN, CAP_NET_RAW
            assert gateway.about["delivery"] == self.delivery
            assert seamless(client.first_ping(INSIDE[0]))
            status = gateway.status()
            assert status["decisions"] == {"installed": 1}
            assert status["faults"] == {}
            assert gateway.stop() == 0
        assert "wgjit" not in site.gateway.run("nft", "list", "ruleset")

    @pytest.mark.parametrize("delivery", ["replay", "flip"])
    def test_the_other_deliveries_work_with_them_too(self, site: Site, delivery: str) -> None:
        """Replay by raw socket: live XDP frames would take CAP_BPF."""
        client = site.client()
        if delivery == "flip":
            site.keep_flips_from_crossing()
        with self.up(site, delivery=delivery):
            assert seamless(client.first_ping(INSIDE[0]))

    def test_the_private_key_is_nowhere_to_be_seen(self, site: Site) -> None:
        key = site.server.private_key.reveal()
        forms = {base64.b64encode(key).rstrip(b"="), key.hex().encode(), key.hex().upper().encode(), key}
        client = site.client()
        seen: dict[str, bytes] = {}
        with self.up(site, "--verbose") as gateway, gateway.feed() as feed:
            assert seamless(client.first_ping(INSIDE[0]))
            site.send([bytes(148), b"\x01" + bytes(147)])
            seen["feed"] = repr(feed.next(public_key=str(client.public_key))).encode()
            seen["ready"] = repr(gateway.about).encode()
            seen["status"] = repr(gateway.status()).encode()
            for name in ("environ", "cmdline"):
                seen[name] = Path(f"/proc/{gateway.process.pid}/{name}").read_bytes()
            seen["doctor"] = site.gateway.run(*WGJIT, "doctor", site.server.name).encode()
            assert gateway.stop() == 0
            assert gateway.process.stdout is not None
            seen["output"] = gateway.process.stdout.read().encode()
            seen["log"] = gateway.log.read_bytes()
        for name in ("feed", "ready", "status", "environ", "cmdline", "log", "doctor"):
            assert seen[name], f"nothing seen of {name}"
        assert str(site.server.public_key).encode() in seen["ready"]
        assert [name for name, text in seen.items() if any(form in text for form in forms)] == []

    def test_an_error_about_a_key_file_does_not_repeat_it(self, site: Site) -> None:
        secret = "c2VjcmV0IHRoYXQgaXMgdG9vIHNob3J0"
        folder = site.lab.folder
        (folder / "key").write_text(secret)
        (folder / "wg.toml").write_text(
            f'[interface]\nprivate_key_file = "{folder}/key"\n[store]\npath = "{folder}/absent.db"\n'
        )
        done = subprocess.run(
            [*WGJIT, "up", "absent0", "--config", folder / "wg.toml"], capture_output=True, timeout=120
        )
        assert done.returncode == 1
        said = done.stdout + done.stderr
        assert b"private_key_file" in said
        assert secret.encode() not in said

    def test_no_core_dump_and_no_look_into_its_memory(self, site: Site) -> None:
        with self.up(site) as gateway:
            folder = Path(f"/proc/{gateway.process.pid}")
            core = next(line for line in (folder / "limits").read_text().splitlines() if "core file" in line)
            assert core.split()[4:6] == ["0", "0"]
            # What is not dumpable belongs to root in /proc, so that its own account cannot read or trace it.
            assert (folder / "mem").stat().st_uid == 0
            for name in ("environ", "maps", "mem"):
                look = subprocess.run([*unprivileged(), "head", "-c1", folder / name], capture_output=True, timeout=120)
                assert look.returncode != 0, name
