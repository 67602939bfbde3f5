"""The restraint: on the wire by plain sockets, for both IP versions, and with a real WireGuard.

Clients are on the loopback of the gateway's namespace, which the thread of the tests is in.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bench.load.spoken import SpokenClient
from lab.netns import Lab, Namespace
from lab.wireguard import Backend, WireGuard
from tests.contracts.gateway_site import LONG, wait_for
from tests.inside import inside
from wgjit.drivers.restraint.nft import HELD, MARGIN, SESSION, NftRestraint
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import CaptureError
from wgjit.model import Endpoint, PeerChange, parse_allowed_ip
from wgjit.wire.messages import INITIATION, RESPONSE, TRANSPORT_DATA

PORT = 51820
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
END = b"\3\0\0\0the end" + bytes(53)
"""A cookie reply, as far as the rules can see."""
FOREIGN = "table inet foreign { set other { type inet_service; elements = { 51820 }; }; }"


class Gateway:
    """A namespace with a restraint, and without WireGuard."""

    def __init__(self, namespace: Namespace, interface: str = "wg0") -> None:
        self.namespace, self.interface = namespace, interface
        self.restraint = NftRestraint(interface, PORT, 1000)

    def elements(self, name: str) -> dict[tuple[str, int], int]:
        """The elements of a set, with the whole seconds that are left."""
        text = self.namespace.run("nft", "-j", "list", "set", "inet", self.restraint.table, name)
        (found,) = [item["set"] for item in json.loads(text)["nftables"] if "set" in item]
        elements: list[dict[str, Any]] = [item["elem"] for item in found.get("elem", [])]
        return {tuple(item["val"]["concat"]): item["expires"] for item in elements}

    def free(self, client: Client | SpokenClient, name: str = "held4") -> None:
        """The time is over for which a client's calls are held back."""
        host, port = client.socket.getsockname()[:2]
        self.namespace.run("nft", "delete", "element", "inet", self.restraint.table, name, f"{{ {host} . {port} }}")

    def held(self) -> int:
        self.restraint.heartbeat()
        return self.restraint.held()


class Client:
    """A socket, and one at the gateway's port that speaks to it in WireGuard's place."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.socket, self.gateway = (socket.socket(FAMILY[version], socket.SOCK_DGRAM) for _ in range(2))
        self.socket.bind((LOOPBACK[version], 0))
        self.gateway.bind((LOOPBACK[version], PORT))
        self.socket.connect((LOOPBACK[version], PORT))
        for one in (self.socket, self.gateway):
            one.settimeout(LONG)

    @property
    def where(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()[:2]
        return host, port

    @property
    def endpoint(self) -> Endpoint:
        host, port = self.where
        return Endpoint(socket.inet_pton(FAMILY[self.version], host), port)

    def gets(self, kind: int) -> bool:
        """Whether a message of this type comes through from the gateway: before a cookie, which always does."""
        with contextlib.suppress(PermissionError):  # what a dropped packet's sender is told
            self.gateway.sendto(bytes([kind, 0, 0, 0]) + bytes(60), self.where)
        self.gateway.sendto(END, self.where)
        got = [self.socket.recv(2048)]
        while got[-1] != END:
            got.append(self.socket.recv(2048))
        return len(got) == 2

    def says(self, kind: int) -> None:
        """Let a message of this type come to the gateway."""
        self.socket.send(bytes([kind, 0, 0, 0]) + bytes(28))
        self.gateway.recv(2048)

    def close(self) -> None:
        self.socket.close()
        self.gateway.close()


def arrived(udp: socket.socket, timeout: float = 0.0) -> bool:
    """Whether a packet waits, or comes within `timeout` seconds; it is taken."""
    if not select.select([udp], [], [], timeout)[0]:
        return False
    udp.recv(2048)
    return True


class RestraintContract:
    """Bound where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def gateway(self) -> Iterator[Gateway]:
        with Lab() as lab, inside(namespace := lab.namespace("gw")):
            gateway = Gateway(namespace)
            yield gateway
            gateway.restraint.close()

    @pytest.fixture(params=[4, 6])
    def client(self, gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Client]:
        client = Client(request.param)
        yield client
        client.close()

    # --- on the wire ---------------------------------------------------------------------------------------------

    def test_without_a_session_nothing_is_held_back(self, gateway: Gateway, client: Client) -> None:
        assert client.gets(INITIATION)
        assert client.gets(TRANSPORT_DATA)
        assert client.gets(INITIATION)
        assert gateway.held() == 0

    def test_a_call_is_held_back_once_after_an_answer(self, gateway: Gateway, client: Client) -> None:
        sessions, held = f"sessions{client.version}", f"held{client.version}"
        assert client.gets(RESPONSE)
        assert SESSION - 60 < gateway.elements(sessions)[client.where] <= SESSION
        assert client.gets(TRANSPORT_DATA)
        assert not client.gets(INITIATION)
        assert HELD - 20 < gateway.elements(held)[client.where] <= HELD
        assert gateway.elements(sessions) == {}
        assert not client.gets(TRANSPORT_DATA), "data would tell the client that all is well"
        assert not client.gets(INITIATION)
        assert gateway.held() == 2
        gateway.free(client, held)
        assert client.gets(INITIATION)
        assert client.gets(TRANSPORT_DATA)
        assert gateway.held() == 2

    def test_another_answer_ends_it_and_counts_anew(self, gateway: Gateway, client: Client) -> None:
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        assert client.gets(RESPONSE)
        assert client.gets(TRANSPORT_DATA)
        assert gateway.elements(f"held{client.version}") == {}
        assert not client.gets(INITIATION)

    def test_data_of_the_client_ends_it(self, gateway: Gateway, client: Client) -> None:
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        client.says(INITIATION)
        assert not client.gets(TRANSPORT_DATA), "anybody can send an initiation from there"
        client.says(TRANSPORT_DATA)
        assert client.gets(TRANSPORT_DATA)
        assert client.gets(INITIATION), "and WireGuard's next call is not held back"

    def test_cookies_pass(self, gateway: Gateway, client: Client) -> None:
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        assert client.gets(3)

    def test_others_are_not_held_back(self, gateway: Gateway, client: Client) -> None:
        """Neither another port of the same host, nor what another program sends to the same client."""
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        with socket.socket(FAMILY[client.version], socket.SOCK_DGRAM) as other:
            other.bind((LOOPBACK[client.version], 0))
            client.gateway.sendto(bytes([INITIATION, 0, 0, 0]) + bytes(60), other.getsockname())
            assert arrived(other, LONG)
        with socket.socket(FAMILY[client.version], socket.SOCK_DGRAM) as program:
            program.bind((LOOPBACK[client.version], 0))
            program.sendto(bytes([TRANSPORT_DATA, 0, 0, 0]) + bytes(60), client.where)  # PermissionError if it is held
        assert client.gets(RESPONSE)

    # --- what the kernel cannot see ------------------------------------------------------------------------------

    def test_sessions_can_be_put_in_and_forgotten(self, gateway: Gateway, client: Client) -> None:
        gateway.restraint.put({client.endpoint: 100.0})
        assert 40 < gateway.elements(f"sessions{client.version}")[client.where] <= 100 - MARGIN
        gateway.restraint.put({client.endpoint: 100.0})
        assert not client.gets(INITIATION)
        gateway.restraint.forget([client.endpoint])
        assert client.gets(INITIATION)
        gateway.restraint.put({client.endpoint: 100.0})
        gateway.restraint.forget([client.endpoint, client.endpoint])
        assert client.gets(INITIATION)
        gateway.restraint.forget([client.endpoint])
        gateway.restraint.put({client.endpoint: float(MARGIN)})
        assert client.gets(INITIATION), "its session is about to end"

    def test_many_sessions_and_mapped_addresses(self, gateway: Gateway) -> None:
        mapped = Endpoint(bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7]), 4000)
        many = [Endpoint(bytes([10, 0, number >> 8, number & 255]), 4000 + number) for number in range(700)]
        many += [Endpoint(bytes([32, 1, *bytes(12), number >> 8, number & 255]), 4000) for number in range(200)]
        gateway.restraint.put(dict.fromkeys([mapped, *many], 1000.0))
        assert ("192.0.2.7", 4000) in gateway.elements("sessions4")
        assert (len(gateway.elements("sessions4")), len(gateway.elements("sessions6"))) == (701, 200)
        assert max(gateway.elements("sessions4").values()) <= SESSION
        gateway.restraint.forget([mapped, *many])
        assert (gateway.elements("sessions4"), gateway.elements("sessions6")) == ({}, {})

    # --- the table -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("what", ["ruleset", "rules"])
    def test_a_flushed_table_is_put_back_and_others_are_left_alone(self, gateway: Gateway, what: str) -> None:
        client = Client(4)
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        assert gateway.held() == 1
        table = ["table", "inet", gateway.restraint.table]
        gateway.namespace.run("nft", "flush", *(["ruleset"] if what == "ruleset" else table))
        gateway.namespace.run("nft", "-f", "-", input=FOREIGN)
        gateway.restraint.put({client.endpoint: 100.0})  # is lost
        gateway.restraint.forget([client.endpoint])
        assert client.gets(INITIATION)
        assert gateway.held() == 1, "the number goes on"
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        assert gateway.held() == 2
        gateway.restraint.close()
        assert gateway.namespace.run("nft", "list", "tables").split() == ["table", "inet", "foreign"]
        assert client.gets(INITIATION)
        client.close()
        gateway.restraint = NftRestraint("wg0", PORT, 1000)

    def test_a_dead_process_leaves_what_does_no_harm(self, gateway: Gateway) -> None:
        gateway.restraint.close()
        code = (
            f"import time; from {NftRestraint.__module__} import NftRestraint; "
            f"restraint = NftRestraint('wg0', {PORT}, 9); print(); time.sleep(600)"
        )
        process = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        client = Client(4)
        assert client.gets(RESPONSE)
        assert not client.gets(INITIATION)
        gateway.free(client)
        assert client.gets(INITIATION)
        gateway.restraint = NftRestraint("wg0", PORT, 1000)
        assert gateway.elements("sessions4") == {}
        client.close()

    def test_two_interfaces_do_not_disturb_each_other(self, gateway: Gateway, client: Client) -> None:
        other = NftRestraint("wg1", PORT + 1, 1000)
        assert client.gets(RESPONSE)
        other.close()
        assert not client.gets(INITIATION)

    def test_without_nft_it_says_so(self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(CaptureError, match="nft: not installed"):
            NftRestraint("wg1", PORT, 1000)

    # --- with WireGuard ------------------------------------------------------------------------------------------

    def test_wireguard_is_held_back(self, backend: Backend) -> None:
        """A peer that is installed without its session is called at the first packet to it: a quick way to a call."""
        with Lab() as lab, inside(namespace := lab.namespace("gw")):
            server = WireGuard(namespace, ["10.8.0.1/24"], listen_port=PORT, backend=backend)
            gateway = Gateway(namespace, server.name)
            with (
                contextlib.closing(open_device(server.name)) as device,
                SpokenClient(server.public_key, PORT) as client,
            ):
                prefixes = (parse_allowed_ip("10.8.0.2/32"),)
                device.apply([PeerChange(client.public_key, allowed_ips=prefixes)])
                client.shake_hands()
                assert client.socket.getsockname() in gateway.elements("sessions4"), "its response has been seen"
                device.apply([PeerChange(client.public_key, remove=True)])
                device.apply([PeerChange(client.public_key, allowed_ips=prefixes, endpoint=client.endpoint)])
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                    udp.sendto(b"from inside", ("10.8.0.2", 9))
                    wait_for(lambda: gateway.held() == 1)
                    assert not arrived(client.socket)
                    gateway.free(client)
                    client.answer()  # WireGuard's retry, 5 s later: it was not put out by the drop
                    wait_for(lambda: arrived(client.socket))  # the packet that has waited
                device.apply([PeerChange(client.public_key, remove=True)])
                device.apply([PeerChange(client.public_key, allowed_ips=prefixes)])
                client.shake_hands()
                assert client.socket.getsockname() in gateway.elements("sessions4"), "the client's own handshake counts"
            gateway.restraint.close()
