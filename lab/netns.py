"""Temporary networks: namespaces, the links between them, and the obstacles of real networks (delay, NAT, firewalls).

    with Lab() as lab:
        gateway, client = lab.namespace("gw"), lab.namespace("c1")
        lab.link(gateway, client, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        assert client.ping("10.9.0.1")

Each lab has its own prefix for all its names, so labs can run side by side. A lab removes everything at its end, also
after an error, an interrupt or SIGTERM. First it ends all processes inside its namespaces, then it removes the
namespaces with their interfaces, firewall rules and sockets. Needs root.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

NETNS = Path("/run/netns")
RUN_FOLDER = Path(os.environ.get("WGJIT_RUN_FOLDER", "/run/wgjit"))
"""Where gateways have their control sockets and locks."""
UAPI_SOCKETS = Path("/var/run/wireguard")
"""The folder of wireguard-go's sockets. All namespaces share it, and a socket is named by its interface alone."""
CLONE_NEWNET = 0x40000000
PATIENCE = 3.0
"""Seconds that a process gets to end after SIGTERM."""

_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):
    """A command of the lab failed. The text holds the command and its error output."""


def command_line(command: str | Path, *arguments: str | Path) -> list[str]:
    """The words of a command, with the full path of its program.

    The path saves time: in User-Mode Linux, a big process takes 10 ms for each folder of PATH that lacks the program.
    """
    return [_which(str(command)) or str(command), *map(str, arguments)]


_which = functools.cache(shutil.which)


def run(*argv: str | Path, input: str | None = None, timeout: float = 120.0, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output. Raises CommandFailed, which never holds the input."""
    done = subprocess.run(
        command_line(*argv),
        input="" if input is None else input,
        text=True,
        capture_output=True,
        timeout=timeout,
        env=None if env is None else {**os.environ, **env},
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(f"{' '.join(map(str, argv))} (status {done.returncode}): {said}")
    return done.stdout


class Namespace:
    """One network namespace, which acts as a machine of its own in the network. Made by `Lab.namespace`."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = f"{lab.prefix}-{name}"
        run("ip", "netns", "add", self.name)
        self.ip("link set lo up")

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    # --- doing things inside --------------------------------------------------------------------------------

    def run(
        self, *argv: str | Path, input: str | None = None, timeout: float = 120.0, env: dict[str, str] | None = None
    ) -> str:
        """Run a command inside to its end and return its standard output. Raises CommandFailed with its stderr.

        The command gets only the namespace's network: /sys shows the interfaces outside. `popen` also gives a /sys.
        """
        return self.call(run, *argv, input=input, timeout=timeout, env=env)

    def popen(
        self,
        *argv: str | Path,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command inside, without input. `pid` is the command's own. The lab ends it if it still runs."""
        # `ip netns exec` mounts a /sys that fits, then becomes the command; it does not wrap it.
        process = subprocess.Popen(
            [*command_line("ip", "netns", "exec"), self.name, *command_line(*argv)],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=None if env is None else {**os.environ, **env},
        )
        self.lab.processes.append(process)
        return process

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function on a thread inside. A socket made there stays in the namespace, whatever thread uses it."""

        def inside() -> T:
            with open(NETNS / self.name) as namespace:
                if _libc.setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {self.name}")
            return function(*args, **kwargs)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(inside).result()

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_DGRAM, proto: int = 0) -> socket.socket:
        """A new socket that belongs to this namespace."""
        return self.call(socket.socket, family, type, proto)

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8), without the leading `ip`, in one process. Raises CommandFailed at the first error."""
        run("ip", "-n", self.name, "-batch", "-", input="".join(f"{command}\n" for command in commands))

    # --- what stands in the way of packets ------------------------------------------------------------------

    def sysctl(self, key: str, value: object) -> None:
        """Set a `net.*` key, written with dots. Dots in an interface's name are written as slashes, as in sysctl(8)."""
        path = Path("/proc/sys") / key.translate(str.maketrans("./", "/."))
        self.call(path.write_text, f"{value}\n")

    def forward(self) -> None:
        """Route packets between interfaces, IPv4 and IPv6."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def netem(self, device: str, delay: float = 0.0, loss: float = 0.0) -> None:
        """Delay packets that leave by an interface (seconds) and lose a share (0 to 1). Replaces earlier values."""
        words = f"delay {delay * 1e6:.0f}us loss {loss * 100:g}% limit 100000".split()
        self.run("tc", "qdisc", "replace", "dev", device, "root", "netem", *words)

    def masquerade(self, device: str) -> None:
        """Make this namespace a NAT router: packets that leave by an interface get its own address."""
        self.forward()
        self._firewall(
            f"""table inet lab_nat {{ chain post {{
                type nat hook postrouting priority 100; oifname {device} masquerade; }}; }}""",
            ["-t", "nat", "-A", "POSTROUTING", "-o", device, "-j", "MASQUERADE"],
        )

    def stateful_firewall(self, device: str) -> None:
        """Let in by an interface only answers to packets that left, and ICMPv6, as a laptop's firewall does."""
        self._firewall(
            f"""table inet lab_firewall {{ chain input {{
                type filter hook input priority 0; iifname != {device} accept; meta l4proto ipv6-icmp accept;
                ct state established,related accept; drop; }}; }}""",
            ["-A", "INPUT", "-i", device, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
            ["-A", "INPUT", "-i", device, "!", "-p", "58", "-j", "DROP"],
        )

    def lose_first_knocks(self, port: int) -> None:
        """Drop the first WireGuard initiation from each address, after packet sockets have seen it.

        So a gateway that works on copies of packets never gets ahead of the packet itself, even if WireGuard is late.
        """
        self.run(
            "nft",
            "-f",
            "-",
            input=f"""table inet lab_lose {{
                set seen4 {{ type ipv4_addr; flags dynamic; }}
                set seen6 {{ type ipv6_addr; flags dynamic; }}
                chain input {{ type filter hook input priority 0;
                    udp dport {port} @th,64,8 1 ip saddr != @seen4 add @seen4 {{ ip saddr }} drop;
                    udp dport {port} @th,64,8 1 ip6 saddr != @seen6 add @seen6 {{ ip6 saddr }} drop;
                }}
            }}""",
        )

    def _firewall(self, nft: str, *iptables: Sequence[str]) -> None:
        """Load an nft ruleset. If the kernel lacks part of nftables, use iptables-legacy instead (both families)."""
        try:
            self.run("nft", "-f", "-", input=nft)
        except CommandFailed:
            for command in ("iptables-legacy", "ip6tables-legacy"):
                for rule in iptables:
                    self.run(command, *rule)

    # --- looking --------------------------------------------------------------------------------------------

    def ping(self, host: str, timeout: float = 5.0, source: str | None = None) -> float | None:
        """Send exactly one ICMP echo request. Returns the seconds until its reply, None if no reply came in time.

        Raises OSError if the request cannot be sent: no route, or a WireGuard interface without a peer for it.
        """
        return self.call(ping_from_here, host, timeout, source)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ping_from_here(host: str, timeout: float, source: str | None = None) -> float | None:
    """As `Namespace.ping`, for a thread that is in the namespace already."""
    v4 = ipaddress.ip_address(host).version == 4
    request, reply, header = (8, 0, 20) if v4 else (128, 129, 0)  # an IPv4 raw socket gives the IP header too
    rest = secrets.token_bytes(12)  # identifier, sequence and data, which the reply brings back as they are
    message = struct.pack(">BBH", request, 0, 0) + rest
    if v4:  # the kernel does this for ICMPv6
        message = struct.pack(">BBH", request, 0, checksum(message)) + rest
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if v4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        if source:
            raw.bind((source, 0))
        started = time.perf_counter()
        raw.sendto(message, (host, 0))
        while (left := started + timeout - time.perf_counter()) > 0:
            raw.settimeout(left)
            try:
                answer = raw.recv(2048)
            except TimeoutError:
                break
            if answer[header] == reply and answer[header + 4 :] == rest:
                return time.perf_counter() - started
    return None


class Link(NamedTuple):
    """A veth pair: the names of its two interfaces, in the order of the namespaces given."""

    a: str
    b: str


class Lab:
    """A context manager that owns namespaces, links and processes. See the head of this module."""

    def __init__(self) -> None:
        self.prefix = "w" + "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(4))
        self.namespaces: list[Namespace] = []
        self.processes: list[subprocess.Popen[str]] = []
        self._folder = tempfile.TemporaryDirectory(prefix=f"{self.prefix}-")
        self.folder = Path(self._folder.name)
        """A folder for logs, keys and databases. It is removed at the end."""
        self._count = 0
        self._signals: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):  # SIGINT raises already
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._signals[number] = signal.signal(number, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def interface(self, kind: str = "v") -> str:
        """A new interface name of at most 15 characters that is unique on this machine."""
        self._count += 1
        name = f"{self.prefix}{kind}{self._count}"
        if len(name) > 15:
            raise ValueError(f"interface name {name!r}: longer than 15 characters; give a shorter kind than {kind!r}")
        return name

    def namespace(self, name: str) -> Namespace:
        """Make a namespace with its loopback up."""
        self.namespaces.append(made := Namespace(self, name))
        return made

    def link(
        self,
        a: Namespace,
        b: Namespace,
        a_addresses: Sequence[str] = (),
        b_addresses: Sequence[str] = (),
        mtu: int = 1500,
    ) -> Link:
        """Join two namespaces by a veth pair that is up, with addresses such as 10.9.0.1/24 and fd09::1/64.

        Each end knows the other end's hardware address from the start. So no first packet waits for ARP or for IPv6's
        neighbour discovery, which would add a round trip to measured latencies.
        """
        link = Link(self.interface(), self.interface())
        macs = [f"02:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}" for number in (self._count - 1, self._count)]
        a.ip(
            f"link add {link.a} address {macs[0]} mtu {mtu} type veth"
            f" peer name {link.b} address {macs[1]} mtu {mtu} netns {b.name}"
        )
        for end, device, own, others, mac in (
            (a, link.a, a_addresses, b_addresses, macs[1]),
            (b, link.b, b_addresses, a_addresses, macs[0]),
        ):
            end.ip(
                f"link set {device} up",
                *(f"address add {address} dev {device}{nodad(address)}" for address in own),
                *(
                    f"neighbour replace {address.partition('/')[0]} lladdr {mac} nud permanent dev {device}"
                    for address in others
                ),
            )
        return link

    def close(self) -> None:
        """Remove everything. Harmless if called twice. Goes on after an error and raises the last error."""
        with contextlib.ExitStack() as stack:
            while self._signals:
                signal.signal(*self._signals.popitem())
            stack.enter_context(_undisturbed())
            stack.callback(self._folder.cleanup)
            for path in UAPI_SOCKETS.glob(f"{self.prefix}*.sock"):
                stack.callback(path.unlink, missing_ok=True)
            for path in NETNS.glob(f"{self.prefix}-*"):  # not from a list: an interrupt may come before it is on it
                stack.callback(run, "ip", "netns", "delete", path.name)
            stack.callback(self._remove_locks)
            # What is registered last runs first: the processes are gone before the ground under them is.
            stack.callback(self._end_processes)

    def _remove_locks(self) -> None:
        """Gateways leave their lock files, as they have to: another process may hold one. The lab's have ended."""
        for path in RUN_FOLDER.glob(f"{self.prefix}*"):
            path.unlink(missing_ok=True)

    def _end_processes(self) -> None:
        strangers = {
            int(pid) for path in NETNS.glob(f"{self.prefix}-*") for pid in run("ip", "netns", "pids", path.name).split()
        }
        ours = {process.pid for process in self.processes if process.poll() is None}
        end(ours | strangers - {os.getpid()}, self.processes)
        self.processes.clear()


def nodad(address: str) -> str:
    """The word that makes an IPv6 address usable without duplicate address detection. Nothing for IPv4."""
    return " nodad" if ":" in address else ""


def end(pids: set[int], children: Sequence[subprocess.Popen[str]] = ()) -> None:
    """End processes by SIGTERM, and after a while by SIGKILL. Reap the ones that are our children."""
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, PATIENCE)):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while pids and time.monotonic() < deadline:
            for child in children:
                child.poll()
            pids = {pid for pid in pids if _runs(pid)}
            time.sleep(0.01 if pids else 0)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back interrupts, so that they cannot stop a clean-up half way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
