"""Record test vectors from a real WireGuard, as root: `python -m lab.vectors linux|wireguard-go`.

`./dev vectors` does both, the first inside a guest kernel.

    client                                  gateway
    192.0.2.1, 2001:db8::1 ──── veth ──── 192.0.2.2, 2001:db8::2
    WireGuard, or our Initiator             WireGuard on port 51820, packet socket

Each handshake is run with throw-away keys, and its packets are kept as they are on the wire. Checksum offload is off,
except for the packets that are recorded to show an unfinished checksum. The packets go to tests/vectors/NAME.json in
the format that `Recorder.record` describes.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import platform
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from lab.netns import Lab, Link, Namespace, run
from lab.wireguard import Backend, WireGuard
from wgjit.refusal import Refusal
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.keys import PresharedKey, PrivateKey
from wgjit.wire.noise import Initiator, SessionKeys, random_index
from wgjit.wire.packets import Datagram, peel
from wgjit.wire.tai64n import Tai64n

BACKENDS: dict[str, Backend] = {"linux": "kernel", "wireguard-go": "go"}
PORT = 51820
ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TIMEOUT = 20.0
BURST = 1500
"""Initiations sent in one go: more than 512 of them must be waiting for the kernel to be "under load"."""

# linux/sockios.h, linux/ethtool.h, linux/if_ether.h, asm-generic/socket.h; Python has no names for them
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33


class Keys(NamedTuple):
    """The throw-away keys of one handshake."""

    client: PrivateKey
    gateway: PrivateKey
    preshared: PresharedKey | None = None

    @classmethod
    def fresh(cls, preshared: PresharedKey | None = None) -> Keys:
        return cls(PrivateKey.generate(), PrivateKey.generate(), preshared)


class Tap:
    """All IP packets on the gateway's end of the link, in both directions."""

    def __init__(self, namespace: Namespace, link: str) -> None:
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        namespace.call(self._socket.bind, (link, _ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)

    def next(self, kind: int, timeout: float = TIMEOUT) -> bytes:
        """The next packet that carries a WireGuard message of this type. Raises TimeoutError."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0]:
                packet = self._socket.recv(65536)
                datagram = peel(packet)
                if isinstance(datagram, Datagram) and datagram.payload[:4] == bytes([kind, 0, 0, 0]):
                    return packet
        raise TimeoutError(f"no message of type {kind}")

    def answer(self, kind: int, ask: Callable[[], object]) -> bytes:
        """The next packet with such a message. `ask` is repeated each second, because a full queue drops a request."""
        for _ in range(int(TIMEOUT)):
            ask()
            with suppress(TimeoutError):
                return self.next(kind, timeout=1)
        raise TimeoutError(f"no message of type {kind}")

    def close(self) -> None:
        self._socket.close()


class Recorder:
    """Records one implementation, on its own link."""

    def __init__(self, lab: Lab, implementation: str) -> None:
        self.implementation = implementation
        self.client, self.gateway = lab.namespace("c"), lab.namespace("g")
        addresses = [[f"{ADDRESSES[4][side]}/24", f"{ADDRESSES[6][side]}/64"] for side in (0, 1)]
        self.link: Link = lab.link(self.client, self.gateway, *addresses)

    def record(self) -> dict[str, Any]:
        """All vectors in the format of the file.

        `handshakes`: keys in base64, ephemeral keys if the client was ours; packets in hex, from the IP header on.
        `unfinished`: initiations whose UDP checksum was left to a network card that does not exist.
        """
        self._offload_checksums(False)
        handshakes = [
            make(version, preshared)
            for make in (self._between_two, self._with_our_client)
            for version in (4, 6)
            for preshared in (None, PresharedKey.generate())
        ]
        handshakes += self._under_load()
        self._offload_checksums(True)
        unfinished = [self._between_two(version, None)["packets"]["initiation"] for version in (4, 6)]
        return {
            "command": "./dev vectors",
            "implementation": self.implementation,
            "version": _version(self.implementation),
            "recorded_at": int(time.time()),
            "handshakes": handshakes,
            "unfinished": unfinished,
        }

    def _between_two(self, version: int, preshared: PresharedKey | None) -> dict[str, Any]:
        """The implementation's own client connects to its own gateway."""
        keys = Keys.fresh(preshared)
        endpoint = Endpoint(socket.inet_pton(FAMILIES[version], ADDRESSES[version][1]), PORT)
        with (
            closing(self._wireguard(self.gateway, keys.gateway, PORT)) as gateway,
            closing(self._wireguard(self.client, keys.client)) as client,
            closing(Tap(self.gateway, self.link.b)) as tap,
        ):
            gateway.add_peer(keys.client.public(), preshared_key=preshared)
            client.add_peer(keys.gateway.public(), preshared_key=preshared, endpoint=endpoint, keepalive=25)
            packets = {"initiation": tap.next(1), "response": tap.next(2)}
        name = f"IPv{version} with preshared key" if preshared else f"IPv{version}"
        return _entry(name, self.implementation, keys, packets)

    def _with_our_client(self, version: int, preshared: PresharedKey | None) -> dict[str, Any]:
        """Our Initiator connects with a known ephemeral key. The gateway must accept the session as live."""
        keys, ephemeral = Keys.fresh(preshared), PrivateKey.generate()
        with (
            closing(self._wireguard(self.gateway, keys.gateway, PORT)) as gateway,
            closing(Tap(self.gateway, self.link.b)) as tap,
            self._connected(version) as wire,
        ):
            gateway.add_peer(keys.client.public(), preshared_key=preshared)
            initiator = Initiator(keys.client, keys.gateway.public(), preshared)
            wire.send(initiator.initiate(random_index(), _now(), ephemeral))
            packets = {"initiation": tap.next(1), "response": tap.next(2)}
            _confirm(initiator.consume_response(_payload(packets["response"])), wire, gateway, keys)
        name = f"our client, IPv{version}" + (" with preshared key" if preshared else "")
        return _entry(name, "wgjit", keys, packets, ephemeral)

    def _under_load(self) -> list[dict[str, Any]]:
        """A burst of initiations until the gateway demands a cookie; then a handshake with that cookie."""
        keys, first, second = Keys.fresh(), PrivateKey.generate(), PrivateKey.generate()
        initiator = Initiator(keys.client, keys.gateway.public())
        with (
            closing(self._wireguard(self.gateway, keys.gateway, PORT)) as gateway,
            closing(Tap(self.gateway, self.link.b)) as tap,
            self._connected(4) as wire,
        ):
            # The peer is not installed yet, so the only possible answer is the cookie reply.
            message = initiator.initiate(random_index(), _now(), first)
            wire.send(message)
            refused = {"initiation": tap.next(1), "cookie_reply": tap.answer(3, lambda: _burst(wire, message))}
            cookie = initiator.consume_cookie_reply(_payload(refused["cookie_reply"]))
            if isinstance(cookie, Refusal):
                raise RuntimeError(f"cookie reply: {cookie}")
            gateway.add_peer(keys.client.public())
            proud = initiator.initiate(random_index(), _now(), second, cookie)
            wire.send(proud)
            while _payload(accepted := tap.next(1)) != proud:
                pass
            packets = {"initiation": accepted, "response": tap.answer(2, lambda: wire.send(proud))}
            _confirm(initiator.consume_response(_payload(packets["response"])), wire, gateway, keys)
        return [
            _entry("our client, asked for a cookie", "wgjit", keys, refused, first),
            _entry("our client, with a cookie", "wgjit", keys, packets, second, cookie),
        ]

    def _wireguard(self, namespace: Namespace, private_key: PrivateKey, port: int = 0) -> WireGuard:
        backend = BACKENDS[self.implementation]
        return WireGuard(namespace, private_key=private_key, listen_port=port, backend=backend)

    def _connected(self, version: int) -> socket.socket:
        wire = self.client.socket(FAMILIES[version])
        wire.connect((ADDRESSES[version][1], PORT))
        return wire

    def _offload_checksums(self, on: bool) -> None:
        """Do what `ethtool -K LINK tx on|off` does, at both ends of the link."""
        for namespace, link in ((self.client, self.link.a), (self.gateway, self.link.b)):
            value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, on), 8)
            with namespace.socket() as control:
                fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP", link.encode(), ctypes.addressof(value)))


def _payload(packet: bytes) -> bytes:
    datagram = peel(packet)
    assert isinstance(datagram, Datagram)
    return datagram.payload


def _entry(
    name: str,
    initiator: str,
    keys: Keys,
    packets: dict[str, bytes],
    ephemeral: PrivateKey | None = None,
    cookie: bytes | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "initiator": initiator,
        "initiator_private_key": keys.client.reveal_base64(),
        "responder_private_key": keys.gateway.reveal_base64(),
        "preshared_key": keys.preshared and keys.preshared.reveal_base64(),
        "initiator_ephemeral": ephemeral and ephemeral.reveal_base64(),
        "cookie": cookie and cookie.hex(),
        "packets": {kind: packet.hex() for kind, packet in packets.items()},
    }


def _confirm(outcome: SessionKeys | Refusal, wire: socket.socket, gateway: WireGuard, keys: Keys) -> None:
    """Use the session and check that the gateway has it: the first transport message sets the handshake time."""
    if isinstance(outcome, Refusal):
        raise RuntimeError(f"response: {outcome}")
    wire.send(outcome.seal(0))
    end = time.monotonic() + TIMEOUT
    while not gateway.peer(keys.client.public()).last_handshake:
        if time.monotonic() > end:
            raise TimeoutError("the gateway did not take our session")
        time.sleep(0.01)


def _burst(wire: socket.socket, message: bytes) -> None:
    """Send so fast that handshakes queue up. At real-time priority, nothing else runs on this processor meanwhile."""
    usual = os.sched_getscheduler(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        for _ in range(BURST):
            wire.send(message)
    finally:
        os.sched_setscheduler(0, usual, os.sched_param(0))


def _now() -> Tai64n:
    return Tai64n.from_unix_ns(time.time_ns())


def _version(implementation: str) -> str:
    if implementation == "linux":
        return f"Linux {platform.release()} {platform.machine()}"
    return run("wireguard-go", "--version").splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.vectors", description="Record test vectors from a real WireGuard.")
    parser.add_argument("implementation", choices=BACKENDS)
    parser.add_argument("--output", type=Path, help="default: tests/vectors/IMPLEMENTATION.json")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("vectors: needs root to make namespaces")
    default = Path(__file__).parent.parent / "tests" / "vectors" / f"{arguments.implementation}.json"
    with Lab() as lab:
        recorded = Recorder(lab, arguments.implementation).record()
    (arguments.output or default).write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
