"""Peers that the registry does not know, on an interface whose registered peers come and go: real traffic both ways.

The foreign peer is an exit node. It was installed by hand, with prefixes around the addresses of all peers. Its machine
also has the addresses of a registered client, so that misrouted packets would be seen there. It also tries to send with
that client's addresses.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from lab.hasty import IDLE
from lab.netns import Lab, Namespace
from lab.wireguard import Backend, Client
from tests.contracts.gateway_site import INSIDE, Site, seamless, wait_for
from wgjit.core.residents.placeholder import placeholder_key

PORT = 7777
Address = tuple[str, int]
RETRY = 1.0
"""Seconds until a datagram is sent again."""
OWN = ("10.8.200.1", "fd08::c801")
"""The exit node's own addresses, which nobody registered."""


def bind(machine: Namespace, host: str) -> socket.socket:
    udp = machine.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    udp.bind((host, PORT))
    udp.settimeout(RETRY)
    return udp


class Impostor:
    """The exit node's machine, with the addresses of a registered client beside its own, and the way to it and back."""

    def __init__(self, site: Site, exit_node: Client, client: Client) -> None:
        self.exit_node, self.client = exit_node, client
        self._sent = 0
        addresses = [str(address) for address in client.addresses]
        exit_node.namespace.ip(*(f"addr add {address} dev {exit_node.name} nodad" for address in addresses))
        self.stolen = [str(address.ip) for address in client.addresses]
        self.gateway = [bind(site.gateway, host) for host in INSIDE]
        self.own = [bind(exit_node.namespace, host) for host in OWN]
        self.theirs = [bind(exit_node.namespace, host) for host in self.stolen]

    def close(self) -> None:
        for udp in (*self.gateway, *self.own, *self.theirs):
            udp.close()

    def reaches_the_gateway(self) -> bool:
        """Whether it can speak to the gateway in the client's name."""
        pairs = zip(self.gateway, self.own, self.theirs, INSIDE, strict=True)
        return any(
            self._comes_through(theirs, (inside, PORT), own, (inside, PORT), gateway, gateway)
            for gateway, own, theirs, inside in pairs
        )

    def is_reached(self) -> bool:
        """Whether what the gateway sends to the client's addresses comes to it."""
        pairs = zip(self.gateway, self.own, self.theirs, OWN, self.stolen, strict=True)
        return any(
            self._comes_through(gateway, (stolen, PORT), gateway, (host, PORT), own, theirs)
            for gateway, own, theirs, host, stolen in pairs
        )

    def _comes_through(
        self,
        thief: socket.socket,
        wrong: Address,
        sender: socket.socket,
        right: Address,
        receiver: socket.socket,
        seen_by: socket.socket,
    ) -> bool:
        """Send what must not arrive, and behind it, by the same tunnel, what must: when the latter is there, the former
        would be. The pair is sent until then, for a datagram may be lost.
        """
        self._sent += 1
        own, stolen, arrived = b"own %d" % self._sent, b"stolen %d" % self._sent, []
        end = time.monotonic() + 60
        while own not in arrived:
            assert time.monotonic() < end, "its own packets do not arrive either"
            with suppress(OSError):  # the interface says that there is nobody
                thief.sendto(stolen, wrong)
            sender.sendto(own, right)
            with suppress(TimeoutError):
                while own not in arrived:
                    arrived.append(receiver.recv(32))
        seen_by.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                arrived.append(seen_by.recv(32))
        seen_by.settimeout(RETRY)
        return stolen in arrived


class ForeignContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, backend)
            yield site
            site.registry.close()

    @pytest.fixture
    def impostor(self, site: Site) -> Iterator[Impostor]:
        client, exit_node = site.client(), site.client(registered=False)
        exit_node.namespace.ip(
            *(f"addr add {host}/{128 if ':' in host else 32} dev {exit_node.name} nodad" for host in OWN)
        )
        site.server.add_peer(exit_node.public_key, ["0.0.0.0/0", "::/0"])
        assert exit_node.namespace.ping(INSIDE[0], source=OWN[0]) is not None
        impostor = Impostor(site, exit_node, client)
        yield impostor
        impostor.close()

    def test_a_wider_peer_never_has_the_addresses_of_registered_ones(self, site: Site, impostor: Impostor) -> None:
        client = impostor.client
        assert impostor.reaches_the_gateway(), "without a gateway, the exit node would have been in its right"
        assert impostor.is_reached()
        keeper = placeholder_key(site.server.public_key)
        with site.up_in_a_hurry() as gateway:
            wait_for(lambda: gateway.status()["sheltered"] == 2)
            assert not impostor.reaches_the_gateway(), "before the client came first"
            assert not impostor.is_reached()

            assert seamless(client.first_ping(INSIDE[0]))
            assert site.gateway.ping(impostor.stolen[0]) is not None
            assert site.gateway.ping(impostor.stolen[1]) is not None
            assert not impostor.reaches_the_gateway(), "while the client is there"
            assert not impostor.is_reached()

            with trying(impostor) as came_through:
                wait_for(lambda: client.public_key not in site.server.peers(), 10 * IDLE)
            assert came_through
            assert not any(came_through), "while the client left"
            assert set(site.server.peers()) == {impostor.exit_node.public_key, keeper}
            assert not impostor.reaches_the_gateway(), "after the client left"
            assert not impostor.is_reached()
            assert gateway.status()["residents"] == 1
            assert "prefixes around registered addresses" in gateway.log.read_text()

            client.forget()
            assert seamless(client.first_ping(INSIDE[0])), "the client comes back as it came"
            newcomer = site.client(registered=False)
            site.registry.add([newcomer.registration])
            wait_for(lambda: gateway.status()["sheltered"] == 2)
            assert seamless(newcomer.first_ping(INSIDE[0]))
        assert not impostor.reaches_the_gateway(), "after the gateway ended"

        with site.up_in_a_hurry() as gateway:
            assert not impostor.reaches_the_gateway()
            site.server.remove_peer(impostor.exit_node.public_key)
            wait_for(lambda: keeper not in site.server.peers())
            assert gateway.status()["sheltered"] == 0

    def test_a_killed_gateway_leaves_the_addresses_kept(self, site: Site, impostor: Impostor) -> None:
        with site.up() as gateway:
            wait_for(lambda: gateway.status()["sheltered"] == 2)
            gateway.kill()
        assert not impostor.reaches_the_gateway()
        assert not impostor.is_reached()
        with site.up() as gateway:
            assert seamless(impostor.client.first_ping(INSIDE[0]))
            assert gateway.status()["faults"] == {}

    def test_an_address_of_a_peer_that_was_just_put_in_by_hand_is_not_taken(self, site: Site) -> None:
        client, other = site.client(), site.client(registered=False)
        address = str(client.registration.allowed_ips[0])
        with site.up() as gateway, gateway.feed() as feed:
            site.server.add_peer(other.public_key, [address, "10.20.0.0/24"])
            assert client.first_ping(INSIDE[0], timeout=1.0) is None
            record = feed.next(public_key=str(client.public_key))
            assert (record["decision"], record["refusal"]) == ("refused", "conflict")
        assert {str(prefix) for prefix in site.server.peer(other.public_key).allowed_ips} == {address, "10.20.0.0/24"}


@contextmanager
def trying(impostor: Impostor) -> Iterator[list[bool]]:
    """Speak in the client's name all the time, for the time of a `with`; gives what came through.

    Not the other way: what the gateway sends to the client keeps that one's session up.
    """
    done = threading.Event()
    came_through: list[bool] = []
    failures: list[BaseException] = []

    def go_on() -> None:
        try:
            while not done.is_set():
                came_through.append(impostor.reaches_the_gateway())
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield came_through
    finally:
        done.set()
        thread.join()
    assert not failures, failures
