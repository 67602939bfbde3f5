"""Service addresses follow the gateways' health, by Debian's keepalived and BIRD with the page's configurations."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lab.fleet.engine import Engine
from lab.fleet.member import PORT, SERVICE, Member
from lab.fleet.site import Fleet
from lab.gateway import WGJIT
from lab.leaving.keepalived import Keepalived
from lab.leaving.lan import VIRTUAL, Lan
from lab.netns import CommandFailed, Lab
from lab.recipes import configuration
from lab.registry_service import wait_until
from lab.routing.bird import Bird
from lab.wireguard import Backend
from tests.contracts.floating import holder
from tests.contracts.gateway_site import LONG, seamless, wait_for
from tests.contracts.leaving import LONGER, draining, verb
from wgjit.model import PrivateKey

ROUTER = """
router id 198.18.0.1;
protocol device { scan time 1; }
protocol kernel { ipv4 { import none; export filter { if proto ~ "gateway_*" then accept; reject; }; }; }
template bgp one {
    local as 65000;
    connect delay time 1;
    error wait time 1, 2;
    ipv4 { import all; export none; };
}
"""


@pytest.fixture
def own_fleet(engine: Engine, backend: Backend) -> Iterator[Fleet]:
    """A fleet for one test alone: what is run here would be in other tests' way."""
    with Lab() as lab, Fleet(lab, engine, backend) as fleet:
        fleet.up()
        for member in fleet.members:
            wait_until(member.hears_the_engine, LONG)
        yield fleet


class SourceContract:
    """From which address WireGuard begins handshakes."""

    def test_doctor_finds_the_wrong_source_and_the_rule_repairs_it(self, own_fleet: Fleet) -> None:
        fleet, a = own_fleet, own_fleet.members[0]
        a.down()
        name, router = a.server.name, router_of(a)
        a.namespace.ip(f"route replace default via {router} src {a.address}")
        a.up(takeover={"addresses": [SERVICE]})
        assert doctor(a)[:2] == (False, f"WireGuard would begin handshakes from {a.address}, not {SERVICE}")
        assert calls_from(fleet, a, "10.8.200.1") == a.address
        rule = configuration(
            "LEAVING.md",
            "the source of WireGuard's own handshakes",
            {"192.0.2.2": router, "203.0.113.1": SERVICE, "wg0": name},
        )
        a.namespace.run("sh", "-e", "-c", rule)
        assert doctor(a) == (True, f"WireGuard begins handshakes from {SERVICE}")
        assert calls_from(fleet, a, "10.8.200.2") == SERVICE
        a.namespace.ip(f"address del {SERVICE}/32 dev lo")
        assert doctor(a)[0] is None, "as on a VRRP backup"


class ServiceAddressContract:
    """Daemons that lead clients to a healthy gateway. Which WireGuard there is makes no difference to them."""

    @pytest.fixture
    def command(self) -> Iterator[Path]:
        """This checkout's `wgjit` as a program, as an installation has it: in a folder that only root can write."""
        with tempfile.TemporaryDirectory(prefix="wgjit-lab-", dir="/run") as folder:
            program = Path(folder) / "wgjit"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wgjit "$@"\n')
            program.chmod(0o755)
            yield program

    def test_keepalived_moves_the_address(self, own_fleet: Fleet, command: Path) -> None:
        fleet, (a, b) = own_fleet, own_fleet.members
        lan = Lan(fleet)
        client = fleet.client(machine=fleet.machine())
        client.redirect(f"{VIRTUAL}:{PORT}")
        with keepalived(a, "150", command), keepalived(b, "140", command):
            wait_for(lambda: lan.owners() == ["a"])
            assert seamless(client.first_ping(a.inside)), "answered from the service address"
            wait_for(lambda: holder(fleet, client) == "a")

            with draining(a) as drain:
                wait_for(lambda: lan.owners() == ["b"])
                client.forget()  # it need not wait for 15 s, which is tested elsewhere
                assert client.first_ping(b.inside, LONG) is not None
                wait_for(lambda: holder(fleet, client) == "b")
                assert drain.wait(LONGER) == 0
            wait_for(lambda: lan.owners() == ["a"])

            a.running.send(signal.SIGSTOP)
            wait_for(lambda: lan.owners() == ["b"])
            a.running.send(signal.SIGCONT)
            wait_for(lambda: lan.owners() == ["a"])
            a.kill()
            wait_for(lambda: lan.owners() == ["b"])
            b.kill()
            wait_for(lambda: lan.owners() == ["a"])  # where none is healthy, one has it all the same

    def test_bird_announces_the_address_where_it_is_served(self, own_fleet: Fleet, command: Path) -> None:
        fleet, (a, b) = own_fleet, own_fleet.members
        fleet.internet.ip(f"route del {SERVICE}/32")
        with ExitStack() as stack:
            router = ROUTER
            for member in (a, b):
                router += (
                    f"protocol bgp gateway_{member.name} from one "
                    f"{{ local {router_of(member)}; neighbor {member.address} as 65001; }}\n"
                )
            internet = Bird(fleet.internet, router)
            stack.callback(internet.close)
            for member in (a, b):
                stack.enter_context(anycast(member, command))

            def path(member: Member) -> int:
                """The length of the path to this gateway's announcement; 0 if there is none."""
                told = ""
                with suppress(CommandFailed):  # no gateway has announced it
                    told = internet.ask("show", "route", "all", "for", SERVICE, "protocol", f"gateway_{member.name}")
                found = re.search(r"BGP\.as_path: ([\d ]+)", told)
                return len(found[1].split()) if found else 0

            wait_for(lambda: [path(a), path(b)] == [1, 1])
            verb(a, "drain", "--over", "1s")  # nobody is there, so it ends at once
            wait_for(lambda: [path(a), path(b)] == [4, 1])
            wait_for(lambda: leads_to(fleet) == b.address)
            client = fleet.client(machine=fleet.machine())
            assert seamless(client.first_ping(b.inside))
            wait_for(lambda: holder(fleet, client) == "b")

            verb(a, "undrain")
            wait_for(lambda: [path(a), path(b)] == [1, 1])
            b.kill()
            wait_for(lambda: [path(a), path(b)] == [1, 4])
            wait_for(lambda: leads_to(fleet) == a.address)
            a.kill()
            wait_for(lambda: [path(a), path(b)] == [4, 4])


def calls_from(fleet: Fleet, member: Member, inside: str) -> str:
    """The address from which WireGuard calls a peer that has this address inside and has never been heard of."""
    machine = fleet.machine()
    with machine.socket() as listener:
        listener.settimeout(LONG)
        listener.bind(("0.0.0.0", 0))
        host = machine.run("ip", "-o", "-4", "address", "show", "scope", "global").split()[3].partition("/")[0]
        member.namespace.run(
            "wg", "set", member.server.name, "peer", str(PrivateKey.generate().public()),
            "endpoint", f"{host}:{listener.getsockname()[1]}", "allowed-ips", f"{inside}/32",
        )  # fmt: skip
        member.namespace.ping(inside, 0.1)
        packet, source = listener.recvfrom(2048)
    assert packet[0] == 1, "an initiation"
    return str(source[0])


def doctor(member: Member) -> tuple[bool | None, str]:
    """What `wgjit doctor` finds of service addresses; its first clause."""
    process = member.namespace.popen(
        *WGJIT, "doctor", member.server.name, "--json", "--config", member.config, stdout=subprocess.PIPE
    )
    said, _ = process.communicate(timeout=600)
    (found,) = [each for each in json.loads(said)["findings"] if each["name"] == "service_address"]
    return found["ok"], found["detail"].split(", and ")[0]


def router_of(member: Member) -> str:
    """The internet's address on the link to this gateway."""
    head, _, last = member.address.rpartition(".")
    return f"{head}.{int(last) + 1}"


def leads_to(fleet: Fleet) -> str:
    """Where the internet sends packets for the service address."""
    found = re.search(r"via (\S+)", fleet.internet.run("ip", "route", "show", f"{SERVICE}/32"))
    return found[1] if found else ""


@contextmanager
def keepalived(member: Member, priority: str, command: Path) -> Iterator[Keepalived]:
    text = configuration(
        "LEAVING.md",
        "/etc/keepalived/keepalived.conf on each gateway",
        {
            "/usr/bin/wgjit": str(command),
            "wg0": member.server.name,
            "150 ": f"{priority} ",
        },
    )
    daemon = Keepalived(member.namespace, text)
    try:
        yield daemon
    finally:
        daemon.close()


@contextmanager
def anycast(member: Member, command: Path) -> Iterator[Bird]:
    """BIRD on a gateway, and the script that tells it of the gateway's health."""
    router = router_of(member)
    text = configuration(
        "LEAVING.md",
        "/etc/bird/bird.conf on each gateway",
        {"192.0.2.1": member.address, "192.0.2.2": router, "203.0.113.1": SERVICE},
    )
    bird = Bird(member.namespace, text)
    control = member.namespace.lab.folder / f"{member.namespace.name}.bird.ctl"
    script = configuration(
        "LEAVING.md",
        "/usr/local/sbin/wgjit-anycast on each gateway",
        {"wgjit health": f"{command} health", "wg0": member.server.name, "birdc": f"birdc -s {control}"},
    )
    teller = member.namespace.popen("sh", "-c", script)
    try:
        yield bird
    finally:
        teller.kill()
        teller.wait()
        bird.close()
