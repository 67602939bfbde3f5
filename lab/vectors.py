"""Record test vectors from a real WireGuard, as root: `python -m lab.vectors linux|wireguard-go`.

`./dev vectors` does both, the first inside a guest kernel.

    namespace client                        namespace gateway
    192.0.2.1, 2001:db8::1 ──── veth ──── 192.0.2.2, 2001:db8::2
    WireGuard, or our Initiator             WireGuard on port 51820, packet socket

Each handshake is run with throw-away keys, and its packets are kept as they are on the wire: checksum offload is off,
except for the packets that are recorded to show what an unfinished checksum looks like. The packets go to
tests/vectors/NAME.json; the format is in `record`. Everything made here carries the prefix and is gone afterwards.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from wgjit.refusal import Refusal
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.keys import PresharedKey, PrivateKey
from wgjit.wire.noise import Initiator, SessionKeys, random_index
from wgjit.wire.packets import Datagram, peel
from wgjit.wire.tai64n import Tai64n

PORT = 51820
PREFIX = f"wv{os.getpid() % 100000}"
CLIENT, GATEWAY = f"{PREFIX}c", f"{PREFIX}g"
CLIENT_LINK, GATEWAY_LINK = f"{PREFIX}vc", f"{PREFIX}vg"
CLIENT_WG, GATEWAY_WG = f"{PREFIX}wc", f"{PREFIX}wg"
ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
TIMEOUT = 20.0
BURST = 1500
"""Initiations sent in one go: more than 512 of them must be waiting for the kernel to be "under load"."""

_STDIN = "/proc/self/fd/0"  # /dev/stdin is not everywhere
_SO_RCVBUFFORCE = 33
_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, stdin: str | None = None) -> str:
    return subprocess.run(command, check=True, text=True, input=stdin, stdout=subprocess.PIPE).stdout


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread's network namespace for the block; a socket made in it stays there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(there)
        os.close(home)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def topology() -> Iterator[None]:
    try:
        run("ip", "netns", "add", CLIENT)
        run("ip", "netns", "add", GATEWAY)
        peer = ("peer", "name", GATEWAY_LINK, "netns", GATEWAY)
        run("ip", "-n", CLIENT, "link", "add", CLIENT_LINK, "type", "veth", *peer)
        for side, (namespace, link) in enumerate([(CLIENT, CLIENT_LINK), (GATEWAY, GATEWAY_LINK)]):
            run("ip", "-n", namespace, "address", "add", f"{ADDRESSES[4][side]}/24", "dev", link)
            run("ip", "-n", namespace, "address", "add", f"{ADDRESSES[6][side]}/64", "dev", link, "nodad")
            run("ip", "-n", namespace, "link", "set", link, "up")
        yield
    finally:
        for namespace in (CLIENT, GATEWAY):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, stderr=subprocess.DEVNULL)


def set_checksum_offload(on: bool) -> None:
    """What `ethtool -K LINK tx on|off` does, at both ends of the link."""
    for namespace, link in ((CLIENT, CLIENT_LINK), (GATEWAY, GATEWAY_LINK)):
        value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, on), 8)
        with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP", link.encode(), ctypes.addressof(value)))


@contextmanager
def wireguard(
    implementation: str, namespace: str, name: str, private_key: PrivateKey, port: int | None = None
) -> Iterator[None]:
    """A WireGuard interface of one implementation, up, without peers."""
    daemon = None
    try:
        if implementation == "linux":
            run("ip", "-n", namespace, "link", "add", name, "type", "wireguard")
        else:
            command = ["ip", "netns", "exec", namespace, "wireguard-go", "-f", name]
            daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for(lambda: Path(f"/var/run/wireguard/{name}.sock").exists(), f"wireguard-go on {name}")
        with_port = ("listen-port", str(port)) if port else ()
        wg(namespace, name, "private-key", _STDIN, *with_port, stdin=private_key.reveal_base64())
        run("ip", "-n", namespace, "link", "set", name, "up")
        yield
    finally:
        if daemon:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=TIMEOUT)
        else:
            subprocess.run(["ip", "-n", namespace, "link", "delete", name], check=False, stderr=subprocess.DEVNULL)


def wg(namespace: str, name: str, *arguments: str, stdin: str | None = None) -> None:
    run("ip", "netns", "exec", namespace, "wg", "set", name, *arguments, stdin=stdin)


def add_peer(namespace: str, name: str, peer: PrivateKey, preshared: PresharedKey | None, *more: str) -> None:
    """Install the peer with this private key's public key."""
    arguments = ["peer", str(peer.public()), *more]
    if preshared:
        arguments += ["preshared-key", _STDIN]
    wg(namespace, name, *arguments, stdin=preshared.reveal_base64() if preshared else None)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


class Tap:
    """All IP packets on the gateway's end of the link, both ways."""

    def __init__(self) -> None:
        with inside(GATEWAY):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))  # ETH_P_ALL
            self._socket.bind((GATEWAY_LINK, 0x0003))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)

    def next(self, kind: int) -> bytes:
        """The next packet that carries a WireGuard message of this type. Raises TimeoutError."""
        end = time.monotonic() + TIMEOUT
        while (left := end - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                packet = self._socket.recv(65536)
                datagram = peel(packet)
                if isinstance(datagram, Datagram) and datagram.payload[:4] == bytes([kind, 0, 0, 0]):
                    return packet
        raise TimeoutError(f"no message of type {kind}")

    def close(self) -> None:
        self._socket.close()


def payload(packet: bytes) -> bytes:
    datagram = peel(packet)
    assert isinstance(datagram, Datagram)
    return datagram.payload


def entry(
    name: str,
    initiator: str,
    keys: tuple[PrivateKey, PrivateKey, PresharedKey | None],
    packets: dict[str, bytes],
    ephemeral: PrivateKey | None = None,
    cookie: bytes | None = None,
) -> dict[str, Any]:
    client, gateway, preshared = keys
    return {
        "name": name,
        "initiator": initiator,
        "initiator_private_key": client.reveal_base64(),
        "responder_private_key": gateway.reveal_base64(),
        "preshared_key": preshared and preshared.reveal_base64(),
        "initiator_ephemeral": ephemeral and ephemeral.reveal_base64(),
        "cookie": cookie and cookie.hex(),
        "packets": {kind: packet.hex() for kind, packet in packets.items()},
    }


def between_two(implementation: str, version: int, preshared: PresharedKey | None) -> dict[str, Any]:
    """The implementation's own client connects to its own gateway."""
    client, gateway = PrivateKey.generate(), PrivateKey.generate()
    endpoint = str(Endpoint(socket.inet_pton(_family(version), ADDRESSES[version][1]), PORT))
    with ExitStack() as stack:
        stack.enter_context(wireguard(implementation, GATEWAY, GATEWAY_WG, gateway, PORT))
        stack.enter_context(wireguard(implementation, CLIENT, CLIENT_WG, client))
        add_peer(GATEWAY, GATEWAY_WG, client, preshared)
        tap = Tap()
        stack.callback(tap.close)
        add_peer(CLIENT, CLIENT_WG, gateway, preshared, "endpoint", endpoint, "persistent-keepalive", "25")
        packets = {"initiation": tap.next(1), "response": tap.next(2)}
    name = f"IPv{version} with preshared key" if preshared else f"IPv{version}"
    return entry(name, implementation, (client, gateway, preshared), packets)


def with_our_client(implementation: str, version: int, preshared: PresharedKey | None) -> dict[str, Any]:
    """Our Initiator connects, with a known ephemeral key; the gateway must take the session for a live one."""
    client, gateway, ephemeral = (PrivateKey.generate() for _ in range(3))
    with ExitStack() as stack:
        stack.enter_context(wireguard(implementation, GATEWAY, GATEWAY_WG, gateway, PORT))
        add_peer(GATEWAY, GATEWAY_WG, client, preshared)
        tap = Tap()
        stack.callback(tap.close)
        wire = stack.enter_context(_connected(version))
        initiator = Initiator(client, gateway.public(), preshared)
        wire.send(initiator.initiate(random_index(), _now(), ephemeral))
        packets = {"initiation": tap.next(1), "response": tap.next(2)}
        _finish(initiator.consume_response(payload(packets["response"])), wire)
    name = f"our client, IPv{version}" + (" with preshared key" if preshared else "")
    return entry(name, "wgjit", (client, gateway, preshared), packets, ephemeral)


def under_load(implementation: str) -> list[dict[str, Any]]:
    """A burst of initiations until a cookie is asked for; then a handshake with that cookie."""
    client, gateway = PrivateKey.generate(), PrivateKey.generate()
    first, second = PrivateKey.generate(), PrivateKey.generate()
    initiator = Initiator(client, gateway.public())
    with ExitStack() as stack:
        stack.enter_context(wireguard(implementation, GATEWAY, GATEWAY_WG, gateway, PORT))
        wire = stack.enter_context(_connected(4))
        message = initiator.initiate(random_index(), _now(), first)
        # Its peer is not installed yet: there is no answer but the cookie reply.
        tap = Tap()
        stack.callback(tap.close)
        _burst(wire, message)
        refused = {"initiation": tap.next(1), "cookie_reply": tap.next(3)}
        cookie = initiator.consume_cookie_reply(payload(refused["cookie_reply"]))
        if isinstance(cookie, Refusal):
            raise RuntimeError(f"cookie reply: {cookie}")
        add_peer(GATEWAY, GATEWAY_WG, client, None)
        wire.send(message := initiator.initiate(random_index(), _now(), second, cookie))
        while payload(accepted := tap.next(1)) != message:
            pass
        answer = tap.next(2)
        _finish(initiator.consume_response(payload(answer)), wire)
    keys = client, gateway, None
    return [
        entry("our client, asked for a cookie", "wgjit", keys, refused, first),
        entry("our client, with a cookie", "wgjit", keys, {"initiation": accepted, "response": answer}, second, cookie),
    ]


def _burst(wire: socket.socket, message: bytes) -> None:
    """Send so fast that handshakes queue up: at real-time priority nothing else runs on this processor meanwhile."""
    usual = os.sched_getscheduler(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        for _ in range(BURST):
            wire.send(message)
    finally:
        os.sched_setscheduler(0, usual, os.sched_param(0))


def _family(version: int) -> socket.AddressFamily:
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _now() -> Tai64n:
    return Tai64n.from_unix_ns(time.time_ns())


@contextmanager
def _connected(version: int) -> Iterator[socket.socket]:
    with inside(CLIENT):
        wire = socket.socket(_family(version), socket.SOCK_DGRAM)
    with wire:
        wire.connect((ADDRESSES[version][1], PORT))
        yield wire


def _finish(outcome: SessionKeys | Refusal, wire: socket.socket) -> None:
    """Confirm the session and see that the gateway has it: its first transport message sets the handshake time."""
    if isinstance(outcome, Refusal):
        raise RuntimeError(f"response: {outcome}")
    wire.send(outcome.seal(0))

    def handshake_seen() -> bool:
        shown = run("ip", "netns", "exec", GATEWAY, "wg", "show", GATEWAY_WG, "latest-handshakes")
        return int(shown.split()[1]) > 0

    wait_for(handshake_seen, "the gateway did not take our session")


def record(implementation: str) -> dict[str, Any]:
    """All vectors of one implementation.

    `handshakes`: keys in base64, ephemeral keys where the client was ours; packets in hex, from the IP header on.
    `unfinished`: pairs of an initiation whose UDP checksum the sender left to a network card that is not there.
    """
    with topology():
        set_checksum_offload(False)
        handshakes = [
            make(implementation, version, preshared)
            for make in (between_two, with_our_client)
            for version in (4, 6)
            for preshared in (None, PresharedKey.generate())
        ]
        handshakes += under_load(implementation)
        set_checksum_offload(True)
        unfinished = [between_two(implementation, version, None)["packets"]["initiation"] for version in (4, 6)]
    return {
        "command": "./dev vectors",
        "implementation": implementation,
        "version": version_of(implementation),
        "recorded_at": int(time.time()),
        "handshakes": handshakes,
        "unfinished": unfinished,
    }


def version_of(implementation: str) -> str:
    if implementation == "linux":
        return f"Linux {platform.release()} {platform.machine()}"
    return run("wireguard-go", "--version").splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.vectors", description="Record test vectors from a real WireGuard.")
    parser.add_argument("implementation", choices=["linux", "wireguard-go"])
    parser.add_argument("--output", type=Path, help="default: tests/vectors/IMPLEMENTATION.json")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("vectors: needs root to make namespaces")
    default = Path(__file__).parent.parent / "tests" / "vectors" / f"{arguments.implementation}.json"
    text = json.dumps(record(arguments.implementation), indent=1) + "\n"
    (arguments.output or default).write_text(text)


if __name__ == "__main__":
    main()
