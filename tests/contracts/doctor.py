"""What holds for the doctor on every machine with tests. They run as root, in a namespace for trying things."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys

from lab.netns import Lab
from wgjit.doctor.probe import Fact, examine, look_at_port


def wgjit(*arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as root without one capability."""
    drop = ["setpriv", f"--bounding-set=-{without}", f"--inh-caps=-{without}"] if without else []
    code = "from wgjit.cli import main; main()"
    return subprocess.run([*drop, sys.executable, "-c", code, *arguments], capture_output=True, text=True)


class DoctorContract:
    def test_the_command_says_what_the_machine_can_do(self) -> None:
        done = wgjit("doctor", "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["can_run"] is True
        assert answer["delivery"] == "hold"
        found = {finding["name"]: finding["ok"] for finding in answer["findings"]}
        assert found.keys() == {fact.value for fact in Fact} - {Fact.PORT, Fact.SERVICE_ADDRESS}
        assert None not in found.values()
        assert found["packet_capture"]
        assert found["xt_queue"]
        assert found["xdp_replay"]
        assert found["raw_replay_ipv4"]
        assert found["raw_replay_ipv6"]
        assert found["confirmations"]
        assert found["routes"]
        assert found["capabilities"]

        table = wgjit("doctor")
        assert table.returncode == 0
        assert f"delivery auto takes hold ({answer['backend']})" in table.stdout

    def test_the_machine_stays_as_it_is(self, lab: Lab) -> None:
        inside = lab.namespace("x")  # nobody else changes anything here

        def state() -> str:
            commands = ("nft list ruleset", "iptables-legacy -t mangle -S", "ip address", "ip rule", "ip netns id")
            return "".join(inside.run(*command.split()) for command in commands)

        before = state()
        assert all(finding.ok is not None for finding in inside.call(examine))
        assert state() == before

    def test_without_a_namespace_what_changes_nothing_is_tried_in_place(self) -> None:
        assert shutil.which("setpriv")
        done = wgjit("doctor", "--json", without="sys_admin")
        found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
        assert found["xt_queue"]["ok"] is None
        for name in ("packet_capture", "raw_replay_ipv4", "raw_replay_ipv6", "xdp_replay", "confirmations"):
            assert found[name]["ok"] is True
            assert "no packet was tried" in found[name]["detail"]
        assert "wgjit_trial" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout

    def test_a_missing_capability_is_named_and_hinders(self) -> None:
        done = wgjit("doctor", "--json", without="net_admin")
        answer = json.loads(done.stdout)
        assert done.returncode == 1
        assert answer["can_run"] is False
        assert "missing: CAP_NET_ADMIN; run as root" in answer["obstacles"]

    def test_without_packet_sockets_what_a_gateway_loses_is_told(self) -> None:
        done = wgjit("doctor", "--json", without="net_raw")
        answer = json.loads(done.stdout)
        found = {finding["name"]: finding for finding in answer["findings"]}
        assert found["confirmations"]["ok"] is False
        assert found["confirmations"]["detail"] == "packet socket: CAP_NET_RAW is missing; run as root"
        assert any("see at once that a session works" in line for line in answer["advice"])

    def test_a_port_is_free_or_names_its_holder(self, lab: Lab) -> None:
        inside = lab.namespace("x")
        with contextlib.closing(inside.socket(socket.AF_INET6)) as other:
            other.bind(("::", 0))
            port = other.getsockname()[1]
            taken = inside.call(look_at_port, "wg99", port)
            assert taken.ok is False
            assert f"({os.getpid()})" in taken.detail
            # of an interface that is there it is taken for the interface's own
            assert inside.call(look_at_port, "lo", port).ok is True
        assert inside.call(look_at_port, "wg99", port).ok is True
        idle = inside.call(look_at_port, "lo", port)
        assert (idle.name, idle.ok) == (Fact.PORT, False)
        assert "although lo is up: it was made in another namespace" in idle.detail
        inside.ip("link set lo down")
        idle = inside.call(look_at_port, "lo", port)
        assert idle == (Fact.PORT, False, f"nothing listens on UDP {port}: is lo up?")
