"""What a lab promises, with the kernel's WireGuard and with wireguard-go. Each has a test_lab.py that runs this.

client 10.9.0.2, fd09::2 ──── veth ──── gateway 10.9.0.1, fd09::1
inside the tunnel 10.8.0.2, fd08::2              10.8.0.1, fd08::1
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.netns import NETNS, RUN_FOLDER, UAPI_SOCKETS, CommandFailed, Lab, Namespace
from lab.wireguard import Backend, Client, WireGuard
from wgjit.model import PresharedKey

ROOT = Path(__file__).parents[2]
TUNNEL = ["10.8.0.0/24", "fd08::/64"]


def gateway_and_client(lab: Lab) -> tuple[Namespace, Namespace]:
    gateway, client = lab.namespace("gw"), lab.namespace("c1")
    lab.link(gateway, client, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
    return gateway, client


def server(namespace: Namespace, backend: Backend) -> WireGuard:
    return WireGuard(namespace, ["10.8.0.1/24", "fd08::1/64"], listen_port=51820, backend=backend)


def client_of(
    gateway: WireGuard, namespace: Namespace, endpoint: str = "10.9.0.1:51820", psk: PresharedKey | None = None
) -> Client:
    return Client(
        namespace,
        gateway.public_key,
        endpoint,
        ["10.8.0.2/32", "fd08::2/128"],
        TUNNEL,
        preshared_key=psk,
        backend=gateway.backend,
    )


def admit(gateway: WireGuard, client: Client) -> None:
    peer = client.registration
    gateway.add_peer(peer.public_key, map(str, peer.allowed_ips), preshared_key=peer.preshared_key)


class LabContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.mark.parametrize(
        ("endpoint", "inside"), [("10.9.0.1:51820", "10.8.0.1"), ("[fd09::1]:51820", "fd08::1")], ids=["ipv4", "ipv6"]
    )
    def test_two_ends_ping(self, lab: Lab, backend: Backend, endpoint: str, inside: str) -> None:
        outer, near = gateway_and_client(lab)
        gateway = server(outer, backend)
        client = client_of(gateway, near, endpoint, PresharedKey.generate())
        admit(gateway, client)
        before = time.time()
        assert client.latest_handshake() == 0.0

        first = client.first_ping(inside)

        assert first is not None
        assert 0 < first < 4  # no retry, which comes after five seconds, has helped
        assert client.latest_handshake() >= int(before)
        seen = gateway.peer(client.public_key)
        assert seen.endpoint is not None
        assert seen.endpoint.host == ("10.9.0.2" if "." in endpoint else "fd09::2")
        assert seen.rx_bytes >= 148
        assert seen.allowed_ips == client.registration.allowed_ips
        with pytest.raises(RuntimeError, match="forget"):
            client.first_ping(inside)

    def test_a_client_can_be_forgotten_and_come_again_and_roam(self, lab: Lab, backend: Backend) -> None:
        outer, near = gateway_and_client(lab)
        gateway = server(outer, backend)
        client = client_of(gateway, near)
        admit(gateway, client)
        assert client.first_ping("10.8.0.1") is not None

        port = client.change_port()
        assert client.ping("10.8.0.1") is not None
        endpoint = gateway.peer(client.public_key).endpoint
        assert endpoint is not None
        assert endpoint.port == port == client.port

        client.forget()
        assert client.latest_handshake() == 0.0
        gateway.remove_peer(client.public_key)
        assert gateway.peers() == {}
        assert client.first_ping("10.8.0.1", timeout=0.5) is None

    def test_a_router_masquerades(self, lab: Lab, backend: Backend) -> None:
        """
        client 192.168.7.2 ──── 192.168.7.1 router 10.9.0.2 ──── 10.9.0.1 gateway
        """
        outer, router = gateway_and_client(lab)
        near = lab.namespace("c2")
        home = lab.link(router, near, ["192.168.7.1/24"], ["192.168.7.2/24"])
        near.ip("route add default via 192.168.7.1")
        away = next(name for name in (f"{lab.prefix}v{n}" for n in range(9)) if name in router.run("ip", "-4", "route"))
        assert near.ping("10.9.0.1", timeout=0.3) is None
        router.masquerade(away)
        assert near.ping("10.9.0.1") is not None
        assert router.ping("192.168.7.2") is not None
        assert home.a in router.run("ip", "link")

        gateway = server(outer, backend)
        client = client_of(gateway, near)
        admit(gateway, client)
        assert client.first_ping("10.8.0.1") is not None
        endpoint = gateway.peer(client.public_key).endpoint
        assert endpoint is not None
        assert endpoint.host == "10.9.0.2"

    def test_a_stateful_firewall_lets_in_answers_only(self, lab: Lab) -> None:
        near, far = lab.namespace("near"), lab.namespace("far")
        link = lab.link(near, far, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        assert far.ping("10.9.0.1") is not None
        near.stateful_firewall(link.a)
        assert far.ping("10.9.0.1", timeout=0.3) is None
        assert near.ping("10.9.0.2") is not None

        with near.socket(socket.AF_INET6) as inside, far.socket(socket.AF_INET6) as outside:
            for end, host in ((inside, "fd09::1"), (outside, "fd09::2")):
                end.bind((host, 0))
                end.settimeout(30)
            outside.sendto(b"unasked", inside.getsockname())
            inside.sendto(b"question", outside.getsockname())
            question, source = outside.recvfrom(100)
            outside.sendto(b"answer", source)
            assert (question, inside.recv(100)) == (b"question", b"answer")

    def test_commands_and_functions_run_inside(self, lab: Lab) -> None:
        inside = lab.namespace("x")
        assert inside.run("cat", input="hello") == "hello"
        device = lab.link(inside, lab.namespace("y")).a
        assert device in inside.run("ip", "-brief", "link")
        assert device in [name for _, name in inside.call(socket.if_nameindex)]
        assert device not in os.listdir("/sys/class/net")
        with inside.popen("ls", "/sys/class/net", stdout=subprocess.PIPE) as listing:
            assert device in listing.communicate()[0].split()
        assert inside.call(os.stat, "/proc/thread-self/ns/net") == os.stat(NETNS / inside.name)
        inside.sysctl("net.ipv4.ip_forward", 1)
        assert inside.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
        with pytest.raises(CommandFailed, match=r"cat /nowhere \(status 1\): .*No such file"):
            inside.run("cat", "/nowhere")
        with pytest.raises(CommandFailed, match="nowhere"):
            inside.ip("link set lo up", "link set nowhere up")
        with pytest.raises(ZeroDivisionError):
            inside.call(divmod, 1, 0)
        with pytest.raises(OSError, match="unreachable"):
            inside.ping("10.1.1.1")

    def test_a_clean_up_leaves_nothing(self, backend: Backend) -> None:
        with Lab() as lab:
            outer, near = gateway_and_client(lab)
            gateway = server(outer, backend)
            client_of(gateway, near)
            process = outer.popen("sleep", "1000")
            # Not ours but init's: a daemon that a command left behind.
            orphan = int(outer.run("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"))
            lock = RUN_FOLDER / f"{lab.prefix}wg1.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
            assert left_of(lab)
            folder = lab.folder
        assert process.poll() == -signal.SIGTERM
        assert not Path(f"/proc/{orphan}").exists() or "\nState:\tZ" in Path(f"/proc/{orphan}/status").read_text()
        assert not folder.exists()
        assert not lock.exists()
        assert left_of(lab) == []
        lab.close()  # twice is harmless

    @pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "an exception"])
    def test_a_lab_ends_cleanly_when_its_program_does_not(self, backend: Backend, way: signal.Signals | None) -> None:
        """The program of the head of lab/wireguard.py, stopped in the middle."""
        program = f"""
import signal, sys
from lab.netns import Lab
from lab.wireguard import WireGuard
with Lab() as lab:
    gw = lab.namespace("gw")
    WireGuard(gw, ["10.8.0.1/24"], backend={backend!r})
    print(lab.prefix, flush=True)
    {"signal.pause()" if way else "raise RuntimeError"}
"""
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        prefix = process.stdout.readline().strip()
        assert prefix
        if way:
            assert any(name.startswith(prefix) for name in os.listdir(NETNS))
            process.send_signal(way)
        process.communicate(timeout=120)
        assert process.returncode != 0
        assert [name for name in os.listdir(NETNS) if name.startswith(prefix)] == []
        assert list(UAPI_SOCKETS.glob(f"{prefix}*")) == []


def left_of(lab: Lab) -> list[str]:
    """All that carries a lab's prefix: namespaces, sockets, processes by their command line."""
    left = [path.name for path in [*NETNS.glob(f"{lab.prefix}*"), *UAPI_SOCKETS.glob(f"{lab.prefix}*")]]
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:
            continue
        left += [str(line) for word in words if word.startswith(lab.prefix.encode())]
    return left
