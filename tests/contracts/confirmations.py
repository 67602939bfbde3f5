"""What shows that a session has passed data, on every WireGuard: the last handshake, and packets that come out.

The clients speak the protocol by themselves, on the loopback of the namespace that the interface is in.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from bench.load.spoken import SpokenClient
from lab.netns import Lab, Namespace
from lab.wireguard import Backend, WireGuard
from tests.contracts.gateway_site import wait_for
from tests.inside import inside
from wgjit.drivers.base import Device
from wgjit.drivers.confirm import packets as driver
from wgjit.drivers.confirm.packets import PacketConfirmations
from wgjit.drivers.confirm.source_filter import NOTHING
from wgjit.drivers.confirm.watched import MOST_PREFIXES
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import CaptureError
from wgjit.model import AllowedIP, DevicePeer, PeerChange, PublicKey

ADDRESSES = ("10.8.0.1/24", "fd08::1/64")
INSIDE = {4: "10.8.0.1", 6: "fd08::1"}
PORT = 51820
PATIENCE = 60.0
"""Seconds for what must come, on a machine however busy."""


def nets(*texts: str) -> tuple[AllowedIP, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


class Site:
    """A namespace with a WireGuard interface, whose thread of tests is inside."""

    def __init__(self, lab: Lab, namespace: Namespace, backend: Backend) -> None:
        self.lab, self.namespace, self.backend = lab, namespace, backend
        self.server = WireGuard(namespace, ADDRESSES, listen_port=PORT, backend=backend)
        self.device: Device = open_device(self.server.name)
        self._open = contextlib.ExitStack()
        self._open.callback(self.device.close)

    def client(self, *allowed_ips: str) -> SpokenClient:
        """A client whose peer is installed."""
        client = self._open.enter_context(SpokenClient(self.server.public_key, PORT))
        client.allowed_ips = nets(*allowed_ips)
        self.device.apply([PeerChange(client.public_key, allowed_ips=client.allowed_ips)])
        return client

    def in_session(self, *allowed_ips: str) -> SpokenClient:
        """A client that has shaken hands."""
        client = self.client(*allowed_ips)
        client.shake_hands()
        return client

    def confirmations(self, name: str = "") -> PacketConfirmations:
        return self._open.enter_context(contextlib.closing(PacketConfirmations(name or self.server.name)))

    def peer(self, key: PublicKey) -> DevicePeer:
        return next(peer for peer in self.device.peers() if peer.public_key == key)

    def last_handshake(self, client: SpokenClient) -> float:
        return self.peer(client.public_key).last_handshake

    def received(self) -> int:
        """Packets that have come out of the interface."""
        links = json.loads(self.namespace.run("ip", "-json", "-s", "link", "show", "dev", self.server.name))
        packets: int = links[0]["stats64"]["rx"]["packets"]
        return packets

    def close(self) -> None:
        self._open.close()


class _OnASite:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab, inside(namespace := lab.namespace("gw")):
            made = Site(lab, namespace, backend)
            yield made
            made.close()


class LastHandshakeContract(_OnASite):
    """The device's own word for a confirmed session, which a gateway looks at."""

    def test_as_responder_only_opened_transport_data_sets_it(self, site: Site) -> None:
        client = site.client("10.8.0.2/32")
        assert site.last_handshake(client) == 0
        first = client.shake_hands()  # the response is there, so WireGuard is done with the initiation
        assert site.last_handshake(client) == 0
        client.shake_hands()
        assert site.last_handshake(client) == 0, "not by a second handshake either"
        client.socket.send(first)  # a replay
        client.send_forged()
        client.shake_hands()  # what was sent before is done with
        assert site.last_handshake(client) == 0
        before = time.time()
        client.keepalive()
        wait_for(lambda: site.last_handshake(client) != 0)
        assert before - 1 <= site.last_handshake(client) <= time.time() + 1

    def test_data_sets_it_like_a_keepalive(self, site: Site) -> None:
        client = site.in_session("10.8.0.2/32")
        client.say("10.8.0.2", INSIDE[4])
        wait_for(lambda: site.last_handshake(client) != 0)

    def test_at_a_rekey_it_moves_when_the_new_session_has_passed_data(self, site: Site) -> None:
        client = site.in_session("10.8.0.2/32")
        client.keepalive()
        wait_for(lambda: site.last_handshake(client) != 0)
        first, old = site.last_handshake(client), client.session
        assert old is not None

        client.shake_hands()
        assert site.last_handshake(client) == first
        received = site.peer(client.public_key).rx_bytes
        client.socket.send(old.seal(7))  # the old session's data goes on, and says nothing of the new one
        wait_for(lambda: site.peer(client.public_key).rx_bytes > received)
        assert site.last_handshake(client) == first
        client.keepalive()
        wait_for(lambda: site.last_handshake(client) > first)

    def test_data_within_a_session_does_not_move_it(self, site: Site) -> None:
        client = site.in_session("10.8.0.2/32")
        client.keepalive()
        wait_for(lambda: site.last_handshake(client) != 0)
        first, received = site.last_handshake(client), site.received()
        client.say("10.8.0.2", INSIDE[4])
        wait_for(lambda: site.received() > received)
        assert site.last_handshake(client) == first

    def test_as_initiator_the_response_sets_it_which_no_recording_can_be(self, site: Site) -> None:
        client = site.client("10.8.0.2/32")
        site.device.apply([PeerChange(client.public_key, endpoint=client.endpoint, keepalive=25)])
        client.answer()
        wait_for(lambda: site.last_handshake(client) != 0)


class ConfirmationsContract(_OnASite):
    """`drivers.base.Confirmations`. What must not be reported is followed by what must: no test waits for nothing."""

    @pytest.mark.parametrize("version", [4, 6])
    def test_a_packet_confirms_its_peer_once(self, site: Site, version: int) -> None:
        client, other = site.in_session("10.8.0.2/32", "fd08::2/128"), site.in_session("10.8.0.3/32", "fd08::3/128")
        confirmations = site.confirmations()
        assert confirmations.read() == []
        await_all(confirmations, client, other)
        assert confirmations.read() == []
        speak(client, version, 2)
        assert reported(confirmations, 1) == [client.public_key]
        speak(client, version, 2)
        speak(other, version, 3)
        assert reported(confirmations, 1) == [other.public_key]
        assert confirmations.counters() == (0, 2, 0, 0)

    def test_handshake_replay_and_keepalive_are_no_packets(self, site: Site) -> None:
        client, other = site.client("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client, other)
        initiation = client.shake_hands()
        client.socket.send(initiation)
        client.send_forged()
        client.keepalive()
        wait_for(lambda: site.last_handshake(client) != 0)
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]
        assert confirmations.counters().watched == 1
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]

    def test_nobody_speaks_for_another(self, site: Site) -> None:
        """Not the peer next door, and nobody on another interface."""
        victim, liar = site.in_session("10.8.0.2/32", "fd08::2/128"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, victim)
        liar.say("10.8.0.2", INSIDE[4])
        liar.say("fd08::2", INSIDE[6])
        outside = site.lab.namespace("out")
        link = site.lab.link(site.namespace, outside, ["10.9.0.1/24"], ["10.9.0.2/24"])
        for setting in ("all", link.a):
            site.namespace.sysctl(f"net.ipv4.conf.{setting.replace('.', '/')}.rp_filter", 0)
        outside.ip("address add 10.8.0.2/32 dev lo", f"route add 10.8.0.1 via 10.9.0.1 dev {link.b}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind((INSIDE[4], 4000))
            listener.settimeout(PATIENCE)
            with outside.socket() as stranger:
                stranger.bind(("10.8.0.2", 0))
                stranger.sendto(b"lie", (INSIDE[4], 4000))
            assert listener.recvfrom(10)[1][0] == "10.8.0.2"  # it came, and by the wrong door
        received = site.received()
        liar.say("10.8.0.3", INSIDE[4])
        wait_for(lambda: site.received() > received)
        assert confirmations.read() == []
        speak(victim, 4, 2)
        assert reported(confirmations, 1) == [victim.public_key]

    def test_what_this_host_sends_is_no_sign(self, site: Site) -> None:
        """Even if its own address is watched, which no peer should have."""
        client = site.in_session("10.8.0.2/32")
        speak(client, 4, 2)
        confirmations = site.confirmations()
        confirmations.watch(client.public_key, nets("10.8.0.1/32"))
        confirmations.flush()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(3):
                sender.sendto(b"out", ("10.8.0.2", 9))
        while client.socket.recv(2048)[0] != 4:  # it went out
            pass
        assert confirmations.read() == []

    def test_an_interface_is_told_from_its_neighbour(self, site: Site) -> None:
        neighbour = WireGuard(site.namespace, ["10.18.0.1/24"], listen_port=PORT + 1, backend=site.backend)
        with contextlib.closing(open_device(neighbour.name)) as device, contextlib.ExitStack() as stack:
            there = stack.enter_context(SpokenClient(neighbour.public_key, PORT + 1))
            there.allowed_ips = nets("10.8.0.2/32")
            device.apply([PeerChange(there.public_key, allowed_ips=there.allowed_ips)])
            here = site.in_session("10.8.0.2/32")
            both = site.confirmations(), site.confirmations(neighbour.name)
            for confirmations, client in zip(both, (here, there), strict=True):
                await_all(confirmations, client)
            there.shake_hands()
            there.say("10.8.0.2", "10.18.0.1")
            assert reported(both[1], 1) == [there.public_key]
            assert both[0].read() == []
            speak(here, 4, 2)
            assert reported(both[0], 1) == [here.public_key]

    def test_what_came_before_does_not_count(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """A resident that leaves and knocks again: packets of its first session wait unread."""
        attached = list[bytes]()
        attach = driver.attach_filter

        def noted(sock: socket.socket, program: bytes) -> None:
            attached.append(program)
            attach(sock, program)

        monkeypatch.setattr(driver, "attach_filter", noted)
        client, other = site.in_session("10.8.0.2/32", "fd08::2/128"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client, other)
        for _ in range(200):  # more than are read at once
            speak(client, 4, 2)
        speak(client, 6, 2)
        wait_for(lambda: site.received() >= 201)
        assert select.select([confirmations], [], [], PATIENCE)[0]
        confirmations.forget(client.public_key)
        attached.clear()
        await_all(confirmations, client)
        assert attached[0] == NOTHING, "else a flood could be read for ever"
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]
        speak(client, 6, 2)
        assert reported(confirmations, 1) == [client.public_key]

    def test_a_peer_that_is_confirmed_while_others_are_added_is_reported(self, site: Site) -> None:
        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client)
        speak(client, 4, 2)
        assert select.select([confirmations], [], [], PATIENCE)[0]
        await_all(confirmations, other)  # which reads what waits
        assert reported(confirmations, 1) == [client.public_key]
        assert not select.select([confirmations], [], [], 0)[0]
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]

    def test_one_that_was_confirmed_meanwhile_can_be_forgotten(self, site: Site) -> None:
        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client)
        speak(client, 4, 2)
        assert select.select([confirmations], [], [], PATIENCE)[0]
        await_all(confirmations, other)
        confirmations.forget(client.public_key)
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]

    def test_between_watch_and_flush_nothing_counts(self, site: Site) -> None:
        """Nor what an earlier call has begun: the peer may have been installed anew."""
        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client, other)
        confirmations.watch(client.public_key, client.allowed_ips)
        speak(client, 4, 2)
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]
        confirmations.flush()
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]

    def test_who_is_forgotten_is_not_reported(self, site: Site) -> None:
        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client, other)
        speak(client, 4, 2)
        wait_for(lambda: site.received() >= 1)
        confirmations.forget(client.public_key)
        confirmations.forget(client.public_key)
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]
        await_all(confirmations, client)
        confirmations.watch(other.public_key, nets("10.8.0.3/32"))
        confirmations.forget(other.public_key)  # before the flush
        confirmations.flush()
        speak(other, 4, 3)
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]

    def test_prefixes_count_and_the_longest_wins(self, site: Site) -> None:
        network, narrow = site.in_session("10.8.4.0/24", "fd08:4::/56"), site.in_session("10.8.4.7/32")
        everything, local = site.in_session("0.0.0.0/0", "::/0"), site.in_session("fe80::2/128")
        confirmations = site.confirmations()

        def again() -> None:
            await_all(confirmations, network, narrow, everything, local)

        for client, source in (
            (narrow, "10.8.4.7"), (network, "10.8.4.8"), (network, "fd08:4:0:ff::1"), (everything, "192.0.2.9"),
            (everything, "2001:db8::1"), (local, "fe80::2"),
        ):  # fmt: skip
            again()
            client.say(source, INSIDE[6 if ":" in source else 4])
            assert reported(confirmations, 1) == [client.public_key], source

    def test_of_many_prefixes_the_first_few_are_watched(self, site: Site) -> None:
        many = [f"10.{n}.0.0/16" for n in range(20, 20 + 3 * MOST_PREFIXES)]
        client, other = site.in_session(*many), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        confirmations.watch(client.public_key, nets(*many))
        await_all(confirmations, other)
        client.say(f"10.{20 + MOST_PREFIXES}.0.1", INSIDE[4])
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]
        client.say(f"10.{20 + MOST_PREFIXES - 1}.0.1", INSIDE[4])
        assert reported(confirmations, 1) == [client.public_key]

    def test_of_ten_thousand_the_newest_are_watched_and_the_rest_is_counted(self, site: Site) -> None:
        old, client = site.in_session("10.8.0.2/32", "fd08::2/128"), site.in_session("10.8.0.3/32", "fd08::3/128")
        confirmations = site.confirmations()
        confirmations.watch(old.public_key, nets("10.8.0.2/32", "fd08::2/128"))
        for n in range(10_000):
            key = PublicKey(n.to_bytes(32, "big"))
            confirmations.watch(key, nets(f"10.9.{n >> 8}.{n & 255}/32", f"fd09::{n:x}/128"))
            if n % 50 == 49:
                confirmations.flush()
        await_all(confirmations, client)
        counters = confirmations.counters()
        assert counters.watched + counters.given_up == 10_002
        assert 200 <= counters.watched <= 1000
        speak(old, 4, 2)
        speak(client, 6, 3)
        assert reported(confirmations, 1) == [client.public_key]

    def test_a_full_socket_loses_packets_and_the_next_one_counts(self, site: Site) -> None:
        client, loud = site.in_session("10.8.0.2/32"), site.in_session("10.8.4.0/24")
        confirmations = site.confirmations()
        confirmations._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await_all(confirmations, client, loud)
        for n in range(100):
            loud.say(f"10.8.4.{n}", INSIDE[4])
        wait_for(lambda: site.received() >= 100)
        speak(client, 4, 2)
        wait_for(lambda: site.received() >= 101)
        assert reported(confirmations, 1) == [loud.public_key]
        wait_for(lambda: confirmations.read() == [] and not select.select([confirmations], [], [], 0)[0])
        assert confirmations.counters().dropped > 0
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]

    @pytest.mark.parametrize("how", ["by its next packet", "by a flush"])
    def test_a_loud_peer_is_filtered_out_after_its_report(self, site: Site, how: str) -> None:
        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client, *([other] if how == "by its next packet" else []))
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]
        if how == "by its next packet":
            speak(client, 4, 2)
            assert select.select([confirmations], [], [], PATIENCE)[0]
            assert confirmations.read() == []
        else:
            confirmations.flush()  # nobody else is watched
        received = site.received()
        for _ in range(20):
            speak(client, 4, 2)
        wait_for(lambda: site.received() >= received + 20)
        assert not select.select([confirmations], [], [], 0)[0]

    def test_a_packet_counts_that_the_firewall_drops_and_one_for_beyond(self, site: Site) -> None:
        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        site.namespace.run("iptables", "-I", "INPUT", "-i", site.server.name, "-j", "DROP")
        await_all(confirmations, client, other)
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]
        other.say("10.8.0.3", "198.51.100.7")  # nowhere
        assert reported(confirmations, 1) == [other.public_key]

    def test_an_interface_that_goes_down_and_up_is_watched_on(self, site: Site) -> None:
        client = site.in_session("10.8.0.2/32")
        confirmations = site.confirmations()
        await_all(confirmations, client)
        site.namespace.ip(f"link set {site.server.name} down")
        assert confirmations.read() == []
        site.namespace.ip(f"link set {site.server.name} up")
        wait_for(lambda: heard(site, client, confirmations))

    def test_without_the_interface_or_the_right_the_reason_is_told(self, site: Site) -> None:
        with pytest.raises(CaptureError, match="there is no interface wgNone"):
            PacketConfirmations("wgNone")
        code = f"""
from wgjit.drivers.confirm.packets import PacketConfirmations
from wgjit.drivers.confirm.source_filter import NOTHING
from wgjit.errors import NotPermitted
try:
    PacketConfirmations({site.server.name!r}).close()
except NotPermitted as error:
    print(error)
else:
    print("permitted")
"""
        without, with_both = (
            subprocess.run(
                ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", sys.executable, "-c", code],
                capture_output=True, text=True, check=True,
            ).stdout.strip()
            for caps in ("-net_raw", "-all,+net_admin,+net_raw")
        )  # fmt: skip
        assert without == "packet socket: CAP_NET_RAW is missing; run as root"
        assert with_both == "permitted"

    def test_a_killed_process_leaves_nothing(self, site: Site) -> None:
        def sockets() -> int:
            with open("/proc/thread-self/net/packet") as table:
                return len(table.readlines()) - 1

        before = sockets()
        code = f"""
import time
from wgjit.drivers.confirm.packets import PacketConfirmations
from wgjit.drivers.confirm.source_filter import NOTHING
confirmations = PacketConfirmations({site.server.name!r})
print("up", flush=True)
time.sleep(600)
"""
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "up\n"
                assert sockets() == before + 1
            finally:
                os.kill(process.pid, signal.SIGKILL)
        assert sockets() == before

    def test_where_the_kernel_grants_less_fewer_are_watched(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with a small net.core.optmem_max, which is the whole machine's setting."""
        attach, refused = driver.attach_filter, list[int]()

        def frugal(sock: socket.socket, program: bytes) -> None:
            if len(program) > 8 * 200:
                refused.append(len(program))
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            attach(sock, program)

        monkeypatch.setattr(driver, "attach_filter", frugal)
        confirmations, client = site.confirmations(), site.in_session("10.8.0.2/32")
        for n in range(500):
            confirmations.watch(PublicKey(n.to_bytes(32, "big")), nets(f"10.9.{n >> 8}.{n & 255}/32"))
        await_all(confirmations, client)
        assert refused
        assert 50 <= confirmations.counters().watched < 300
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]
        monkeypatch.setattr(driver, "_LEAST_INSTRUCTIONS", 10_000)
        for n in range(500):
            confirmations.watch(PublicKey(n.to_bytes(32, "big")), nets(f"10.9.{n >> 8}.{n & 255}/32"))
        confirmations._most_instructions = 1000
        with pytest.raises(CaptureError, match=f"confirmations on {site.server.name}: filter: Cannot allocate memory"):
            confirmations.flush()

    def test_after_an_error_the_next_flush_tries_again_and_no_report_is_lost(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attach = driver.attach_filter

        def failing(sock: socket.socket, program: bytes) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        client, other = site.in_session("10.8.0.2/32"), site.in_session("10.8.0.3/32")
        confirmations = site.confirmations()
        await_all(confirmations, client)
        monkeypatch.setattr(driver, "attach_filter", failing)
        speak(client, 4, 2)
        assert reported(confirmations, 1) == [client.public_key]
        confirmations.watch(other.public_key, other.allowed_ips)
        for _ in range(2):
            with pytest.raises(CaptureError, match=f"confirmations on {site.server.name}: filter: Input/output error"):
                confirmations.flush()
        monkeypatch.setattr(driver, "attach_filter", attach)
        confirmations.flush()
        speak(other, 4, 3)
        assert reported(confirmations, 1) == [other.public_key]

    def test_closing_twice_is_harmless(self, site: Site) -> None:
        confirmations = site.confirmations()
        confirmations.close()
        confirmations.close()


def await_all(confirmations: PacketConfirmations, *clients: SpokenClient) -> None:
    """Watch clients, by the prefixes that their peers have."""
    for client in clients:
        confirmations.watch(client.public_key, client.allowed_ips)
    confirmations.flush()


def speak(client: SpokenClient, version: int, host: int) -> None:
    """A packet to the server from 10.8.0.HOST or fd08::HOST."""
    client.say(f"10.8.0.{host}" if version == 4 else f"fd08::{host}", INSIDE[version])


def reported(confirmations: PacketConfirmations, count: int) -> Sequence[PublicKey]:
    """What is reported until there are so many. Fails if they do not come."""
    found: list[PublicKey] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert select.select([confirmations], [], [], deadline - time.monotonic())[0], f"only {len(found)} of {count}"
        found += confirmations.read()
    return found


def heard(site: Site, client: SpokenClient, confirmations: PacketConfirmations) -> bool:
    """Whether a packet of the client is reported; it shakes hands anew, since its session may be gone."""
    client.shake_hands()
    speak(client, 4, 2)
    return confirmations.read() == [client.public_key]
