"""Throw-away networks: namespaces, the links between them, and what a real network puts in the way.

    with Lab() as lab:
        gateway, client = lab.namespace("gw"), lab.namespace("c1")
        lab.link(gateway, client, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        assert client.ping("10.9.0.1")

All that a lab makes is named with a prefix of its own, so that labs run side by side, and is gone at its end, also
after an error, an interrupt or SIGTERM: processes first, those too that a command left running inside a namespace, then
the namespaces with their interfaces, firewall rules and sockets. Needs root.
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
UAPI_SOCKETS = Path("/var/run/wireguard")
"""Where wireguard-go puts its socket, by the interface's name alone: one folder for all namespaces."""
CLONE_NEWNET = 0x40000000
PATIENCE = 3.0
"""Seconds that a process gets to end after SIGTERM."""

_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):
    """A command of the lab ended with an error; the text has the command and what it said."""


def command_line(command: str | Path, *arguments: str | Path) -> list[str]:
    """The words to start a process with, its program by its path.

    User-Mode Linux takes 10 ms for each folder of PATH in which a big process looks for a program in vain.
    """
    return [_which(str(command)) or str(command), *map(str, arguments)]


_which = functools.cache(shutil.which)


def run(*argv: str | Path, input: str | None = None, timeout: float = 120.0, env: dict[str, str] | None = None) -> str:
    """Run a command to its end; gives its standard output. Raises CommandFailed. The input is never in the error."""
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
    """One network namespace: a machine of its own as far as the network goes. Made by `Lab.namespace`."""

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
        """Run a command inside to its end; gives its standard output. Raises CommandFailed with its stderr.

        Only its network is the namespace's: /sys shows the interfaces outside. `popen` gives it a /sys as well.
        """
        return self.call(run, *argv, input=input, timeout=timeout, env=env)

    def popen(
        self,
        *argv: str | Path,
        stdout: int | IO[str] | None = None,
        stderr: int | IO[str] | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command inside, without input; `pid` is its own. The lab ends it if nobody did."""
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
        """Call a function on a thread that is inside. A socket made there stays inside, whoever uses it."""

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
        """Run commands of ip(8), without the leading `ip`, in one process. Raises CommandFailed at the first bad."""
        run("ip", "-n", self.name, "-batch", "-", input="".join(f"{command}\n" for command in commands))

    # --- what stands in the way of packets ------------------------------------------------------------------

    def sysctl(self, key: str, value: object) -> None:
        """Set one of `net.*`, written with dots; an interface's own dots as slashes, as sysctl(8) has it."""
        path = Path("/proc/sys") / key.translate(str.maketrans("./", "/."))
        self.call(path.write_text, f"{value}\n")

    def forward(self) -> None:
        """Route packets between interfaces, IPv4 and IPv6."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def netem(self, device: str, delay: float = 0.0, loss: float = 0.0) -> None:
        """Delay what leaves by an interface, seconds, and lose a share of it, 0 to 1. Replaces what was set before."""
        words = f"delay {delay * 1e6:.0f}us loss {loss * 100:g}% limit 100000".split()
        self.run("tc", "qdisc", "replace", "dev", device, "root", "netem", *words)

    def masquerade(self, device: str) -> None:
        """Be a NAT router: forward, and give all that leaves by an interface this namespace's own address."""
        self.forward()
        self._firewall(
            f"""table inet lab_nat {{ chain post {{
                type nat hook postrouting priority 100; oifname {device} masquerade; }}; }}""",
            ["-t", "nat", "-A", "POSTROUTING", "-o", device, "-j", "MASQUERADE"],
        )

    def stateful_firewall(self, device: str) -> None:
        """Let in by an interface only what answers something that left, and ICMPv6, as a laptop's firewall does."""
        self._firewall(
            f"""table inet lab_firewall {{ chain input {{
                type filter hook input priority 0; iifname != {device} accept; meta l4proto ipv6-icmp accept;
                ct state established,related accept; drop; }}; }}""",
            ["-A", "INPUT", "-i", device, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
            ["-A", "INPUT", "-i", device, "!", "-p", "58", "-j", "DROP"],
        )

    def lose_first_knocks(self, port: int) -> None:
        """Drop the first WireGuard initiation from each address, behind the taps.

        So what works on a copy of a packet never overtakes the packet itself, however late WireGuard's worker is.
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
        """Load an nft ruleset; where the kernel lacks part of it, the same by iptables-legacy for both families."""
        try:
            self.run("nft", "-f", "-", input=nft)
        except CommandFailed:
            for command in ("iptables-legacy", "ip6tables-legacy"):
                for rule in iptables:
                    self.run(command, *rule)

    # --- looking --------------------------------------------------------------------------------------------

    def ping(self, host: str, timeout: float = 5.0, source: str | None = None) -> float | None:
        """Send one ICMP echo request, and one only; seconds until its reply came, None if none came in time.

        Raises OSError if it cannot even be sent: no route, or a WireGuard interface without a peer for it.
        """
        return self.call(ping_from_here, host, timeout, source)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ping_from_here(host: str, timeout: float, source: str | None = None) -> float | None:
    """`Namespace.ping`, on a thread that is inside already."""
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
    """A context manager that owns namespaces, links and processes. See the head of this file."""

    def __init__(self) -> None:
        self.prefix = "w" + "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(4))
        self.namespaces: list[Namespace] = []
        self.processes: list[subprocess.Popen[str]] = []
        self._folder = tempfile.TemporaryDirectory(prefix=f"{self.prefix}-")
        self.folder = Path(self._folder.name)
        """For logs, keys and databases; removed at the end."""
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
        """A new interface name, at most 15 characters, that nobody else on this machine uses."""
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

        Each end knows the other's hardware address from the start: a first packet is not held up by ARP or by
        IPv6's neighbour discovery, which would count as an extra round trip when latencies are measured.
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
        """Take everything back; harmless if called twice. Goes on after an error and raises the last one."""
        with contextlib.ExitStack() as stack:
            while self._signals:
                signal.signal(*self._signals.popitem())
            stack.enter_context(_undisturbed())
            stack.callback(self._folder.cleanup)
            for path in UAPI_SOCKETS.glob(f"{self.prefix}*.sock"):
                stack.callback(path.unlink, missing_ok=True)
            for path in NETNS.glob(f"{self.prefix}-*"):  # not from a list: an interrupt may come before it is on it
                stack.callback(run, "ip", "netns", "delete", path.name)
            # What is registered last runs first: the processes are gone before the ground under them is.
            stack.callback(self._end_processes)

    def _end_processes(self) -> None:
        strangers = {
            int(pid) for path in NETNS.glob(f"{self.prefix}-*") for pid in run("ip", "netns", "pids", path.name).split()
        }
        ours = {process.pid for process in self.processes if process.poll() is None}
        end(ours | strangers - {os.getpid()}, self.processes)
        self.processes.clear()


def nodad(address: str) -> str:
    """The word that lets an IPv6 address be used at once, without duplicate address detection; nothing for IPv4."""
    return " nodad" if ":" in address else ""


def end(pids: set[int], children: Sequence[subprocess.Popen[str]] = ()) -> None:
    """End processes by SIGTERM, after a while by SIGKILL; reap those of them that are our children."""
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
    """No interrupt stops a clean-up half way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
