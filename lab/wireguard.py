"""Real WireGuard interfaces in a lab's namespaces, and clients that measure the time to their first ping.

    gateway = WireGuard(gw, ["10.8.0.1/24"], listen_port=51820)
    client = Client(c1, gateway.public_key, "10.9.0.1:51820", ["10.8.0.2/32"], ["10.8.0.0/24"])
    gateway.add_peer(client.public_key, ["10.8.0.2/32"])
    seconds = client.first_ping("10.8.0.1")

The interfaces are the kernel's if it has WireGuard, else wireguard-go's. Everything is set and read by `wg`, so that
tests do not rely on the code under test. Interface names are unique on the machine, because wireguard-go's sockets are
named by the interface alone. Secrets go to `wg` over its standard input, never in a command line.
"""

from __future__ import annotations

import functools
import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import Literal

from lab.netns import UAPI_SOCKETS, CommandFailed, Namespace, end, nodad, run
from wgjit.model import DevicePeer, Endpoint, Peer, PresharedKey, PrivateKey, PublicKey, parse_allowed_ip

Backend = Literal["auto", "kernel", "go"]

STDIN = "/proc/self/fd/0"
"""wg(8) takes configurations and keys from files only."""
START_TIMEOUT = 60.0
TICK = 0.05
"""Seconds after which a client's next initiation is sure to be accepted. Timestamps move in steps of 16.8 ms, and a
server takes 50 initiations per second from a peer (messages.h, INITIATIONS_PER_SECOND) and drops earlier ones."""


@functools.cache
def kernel_has_wireguard() -> bool:
    """Whether this kernel makes WireGuard interfaces. To find out, this makes one in a temporary namespace."""
    try:
        run("unshare", "--net", "ip", "link", "add", "probe", "type", "wireguard")
    except CommandFailed:
        return False
    return True


def peer_section(
    key: PublicKey,
    allowed_ips: Iterable[str] = (),
    endpoint: Endpoint | str | None = None,
    preshared_key: PresharedKey | None = None,
    keepalive: int | None = None,
) -> str:
    """One [Peer] of wg(8)'s configuration file format."""
    lines = ["[Peer]", f"PublicKey = {key}"]
    if preshared_key is not None:
        lines.append(f"PresharedKey = {preshared_key.reveal_base64()}")
    if prefixes := ", ".join(allowed_ips):
        lines.append(f"AllowedIPs = {prefixes}")
    if endpoint is not None:
        lines.append(f"Endpoint = {endpoint}")
    if keepalive is not None:
        lines.append(f"PersistentKeepalive = {keepalive}")
    return "\n".join(lines) + "\n"


def parse_dump(text: str) -> dict[PublicKey, DevicePeer]:
    """The peers in the output of `wg show INTERFACE dump`: a line for the interface, then a line for each peer."""
    peers = {}
    for line in text.splitlines()[1:]:
        key, psk, endpoint, prefixes, handshake, rx, tx, keepalive = line.split("\t")
        peers[PublicKey.parse(key)] = DevicePeer(
            public_key=PublicKey.parse(key),
            allowed_ips=tuple(parse_allowed_ip(prefix) for prefix in prefixes.split(",") if prefix != "(none)"),
            preshared_key=None if psk == "(none)" else PresharedKey.parse(psk),
            endpoint=None if endpoint == "(none)" else Endpoint.parse(endpoint),
            keepalive=0 if keepalive == "off" else int(keepalive),
            last_handshake=float(handshake),
            rx_bytes=int(rx),
            tx_bytes=int(tx),
        )
    return peers


class WireGuard:
    """A WireGuard interface in a namespace, up and with addresses."""

    def __init__(
        self,
        namespace: Namespace,
        addresses: Sequence[str] = (),
        *,
        private_key: PrivateKey | None = None,
        listen_port: int = 0,
        mtu: int = 1420,
        backend: Backend = "auto",
        name: str | None = None,
    ) -> None:
        self.namespace = namespace
        self.name = name or namespace.lab.interface("wg")
        self.private_key = private_key or PrivateKey.generate()
        self.public_key = self.private_key.public()
        self.backend: Backend = backend
        if backend == "auto":
            self.backend = "kernel" if kernel_has_wireguard() else "go"
        self._process: subprocess.Popen[str] | None = None
        if self.backend == "kernel":
            namespace.ip(f"link add {self.name} type wireguard")
        else:
            self._start_userspace()
        section = f"[Interface]\nPrivateKey = {self.private_key.reveal_base64()}\n"
        self._wg("setconf", self.name, STDIN, input=section + (f"ListenPort = {listen_port}\n" if listen_port else ""))
        namespace.ip(
            *(f"address add {address} dev {self.name}{nodad(address)}" for address in addresses),
            f"link set {self.name} mtu {mtu} up",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name} in {self.namespace.name}, {self.backend})"

    def _start_userspace(self) -> None:
        if shutil.which("wireguard-go") is None:
            raise CommandFailed("wireguard-go is not installed, and this kernel has no WireGuard")
        if _answers(self.name):
            raise CommandFailed(f"a wireguard-go has an interface {self.name} already, maybe in another namespace")
        log = self.namespace.lab.folder / f"{self.name}.log"
        with open(log, "w") as output:
            self._process = self.namespace.popen(
                "wireguard-go", "-f", self.name, stdout=output, stderr=output, env={"LOG_LEVEL": "error"}
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(self.name):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text().strip().rpartition("\n")[2]  # above it is a banner
                raise CommandFailed(f"wireguard-go {self.name} does not start: {said}")
            time.sleep(0.005)

    def _wg(self, *words: str, input: str | None = None) -> str:
        return self.namespace.run("wg", *words, input=input)

    # --- peers ----------------------------------------------------------------------------------------------

    def add_peer(
        self,
        key: PublicKey,
        allowed_ips: Iterable[str] = (),
        *,
        endpoint: Endpoint | str | None = None,
        preshared_key: PresharedKey | None = None,
        keepalive: int | None = None,
    ) -> None:
        """Add a peer, or set the given values of an existing peer."""
        section = peer_section(key, allowed_ips, endpoint, preshared_key, keepalive)
        self._wg("addconf", self.name, STDIN, input=section)

    def configure(self, peers: str, timeout: float = 600.0) -> None:
        """Replace all peers by these [Peer] sections, with one `wg setconf`. `timeout` in seconds."""
        text = f"[Interface]\nPrivateKey = {self.private_key.reveal_base64()}\nListenPort = {self.port}\n{peers}"
        self.namespace.run("wg", "setconf", self.name, STDIN, input=text, timeout=timeout)

    def clear(self) -> None:
        """Remove all peers. Before an interface with many peers is deleted, this saves an SMP kernel 18 ms per peer."""
        self.configure("")

    def remove_peer(self, key: PublicKey) -> None:
        """Remove a peer. Harmless if it is not there."""
        self._wg("set", self.name, "peer", str(key), "remove")

    def peers(self) -> dict[PublicKey, DevicePeer]:
        """All current peers of the device."""
        return parse_dump(self._wg("show", self.name, "dump"))

    def peer(self, key: PublicKey) -> DevicePeer:
        """The current values of one peer of the device. Raises KeyError."""
        return self.peers()[key]

    # --- the interface --------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The UDP port that the interface listens on now."""
        return int(self._wg("show", self.name, "listen-port"))

    def change_port(self, port: int = 0) -> int:
        """Listen on another port, as after a new NAT binding. 0 takes a free port. Returns the port."""
        self._wg("set", self.name, "listen-port", str(port))
        return self.port

    def change_key(self, key: PrivateKey) -> None:
        """Have another private key. `private_key` and `public_key` stay those of the start."""
        self._wg("set", self.name, "private-key", STDIN, input=key.reveal_base64())

    @property
    def pid(self) -> int | None:
        """wireguard-go's process. None for a kernel interface."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """Delete the interface now. Otherwise the lab deletes it at its end."""
        if self._process is not None:
            end({self._process.pid}, [self._process])
            (UAPI_SOCKETS / f"{self.name}.sock").unlink(missing_ok=True)
        else:
            self.namespace.ip(f"link delete {self.name}")


def _answers(name: str) -> bool:
    """Whether a wireguard-go has made its interface and listens on its socket."""
    with socket.socket(socket.AF_UNIX) as uapi:
        try:
            uapi.connect(str(UAPI_SOCKETS / f"{name}.sock"))
        except OSError:
            return False
        return True


class Client(WireGuard):
    """A client: an interface with one peer (the server), and routes to the networks behind the server.

    With a keepalive, the client knocks at once. Without, it knocks at its first packet, which `first_ping` sends.
    """

    def __init__(
        self,
        namespace: Namespace,
        server: PublicKey,
        endpoint: Endpoint | str,
        addresses: Sequence[str],
        allowed_ips: Sequence[str],
        *,
        preshared_key: PresharedKey | None = None,
        keepalive: int | None = None,
        private_key: PrivateKey | None = None,
        listen_port: int = 0,
        mtu: int = 1420,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(
            namespace, addresses, private_key=private_key, listen_port=listen_port, mtu=mtu, backend=backend
        )
        self.addresses = tuple(ipaddress.ip_interface(address) for address in addresses)
        self.server = server
        self.preshared_key = preshared_key
        self._allowed_ips, self._keepalive = tuple(allowed_ips), keepalive
        self._section = peer_section(server, allowed_ips, endpoint, preshared_key, keepalive)
        # A route for all addresses would also take the tunnel's own packets.
        prefixes = [prefix for prefix in allowed_ips if not prefix.endswith("/0")]
        namespace.ip(*(f"route replace {prefix} dev {self.name}" for prefix in prefixes))
        self.connect()

    @property
    def registration(self) -> Peer:
        """The peer that a registry must hold so that this client can connect."""
        return Peer(
            public_key=self.public_key,
            allowed_ips=tuple(ipaddress.ip_network(address.ip) for address in self.addresses),
            preshared_key=self.preshared_key,
            name=self.name,
        )

    def connect(self) -> None:
        """Add the server as a peer (again)."""
        self._wg("addconf", self.name, STDIN, input=self._section)

    def forget(self) -> None:
        """Drop the session and add the server again. The next packet is then a first ping."""
        time.sleep(0.05)  # WireGuard drops an initiation within 20 ms of the peer's last (INITIATIONS_PER_SECOND, 50)
        self.remove_peer(self.server)
        self.connect()

    def redirect(self, endpoint: Endpoint | str) -> None:
        """Have another endpoint from now on and keep the session, as a client that has resolved a name anew."""
        self._section = peer_section(self.server, self._allowed_ips, endpoint, self.preshared_key, self._keepalive)
        self._wg("set", self.name, "peer", str(self.server), "endpoint", str(endpoint))

    def begin_anew(self, key: PrivateKey, port: int) -> None:
        """Become a new client with this key and port and no session, by one process, for benchmarks."""
        self.private_key, self.public_key = key, key.public()
        interface = f"[Interface]\nPrivateKey = {key.reveal_base64()}\nListenPort = {port}\n"
        self._wg("setconf", self.name, STDIN, input=interface + self._section)

    def first_ping(self, host: str, timeout: float = 10.0) -> float | None:
        """Seconds from sending one packet into the tunnel until its answer is back. None if it is not back in time.

        The packet waits in WireGuard until the handshake is done, so a user waits just as long. It is sent only once,
        so a lost packet shows as None. Raises RuntimeError if there is a session already.
        """
        if self.latest_handshake():
            raise RuntimeError(f"{self.name} has a session already: forget() first")
        return self.namespace.ping(host, timeout)

    def ping(self, host: str, timeout: float = 5.0) -> float | None:
        """Seconds of one packet through the tunnel and back, with or without a session. None if it is not in time."""
        return self.namespace.ping(host, timeout)

    def latest_handshake(self) -> float:
        """Unix seconds of the last completed handshake, 0.0 if there was none."""
        return self.peer(self.server).last_handshake
