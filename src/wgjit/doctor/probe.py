"""Finds out what this machine can do. Nothing on it changes: `trial` tries things out in a namespace of its own."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from wgjit.drivers.netlink.generic import GenetlinkSocket
from wgjit.drivers.wireguard.interface import TUN
from wgjit.drivers.wireguard.listening import why_deaf


class Fact(StrEnum):
    """A fact about the machine. The value is the name that people and programs see."""

    CAPABILITIES = "capabilities"
    WIREGUARD_KERNEL = "wireguard_kernel"
    WIREGUARD_GO = "wireguard_go"
    TUN = "tun"
    PACKET_CAPTURE = "packet_capture"
    NFT_QUEUE = "nft_queue"
    XT_QUEUE = "xt_queue"
    XDP_REPLAY = "xdp_replay"
    RAW_REPLAY_IPV4 = "raw_replay_ipv4"
    RAW_REPLAY_IPV6 = "raw_replay_ipv6"
    CONFIRMATIONS = "confirmations"
    ROUTES = "routes"
    PORT = "port"
    SERVICE_ADDRESS = "service_address"


class Account(NamedTuple):
    """An account of this machine."""

    name: str
    uid: int
    gid: int


class Finding(NamedTuple):
    """A fact and its result. `ok` is None if it could not be found out, or does not apply."""

    name: Fact
    ok: bool | None
    detail: str


_TRIED = (
    Fact.PACKET_CAPTURE,
    Fact.NFT_QUEUE,
    Fact.XT_QUEUE,
    Fact.XDP_REPLAY,
    Fact.RAW_REPLAY_IPV4,
    Fact.RAW_REPLAY_IPV6,
    Fact.CONFIRMATIONS,
    Fact.ROUTES,
)
_CAPABILITIES = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW", 39: "CAP_BPF"}  # linux/capability.h
_SYS_ADMIN = 21  # includes CAP_BPF, as before Linux 5.8
_TRIAL_SECONDS = 90  # a fraction of one, but half a minute in a guest on a machine with other work


def examine(interface: str | None = None, port: int | None = None, account: Account | None = None) -> list[Finding]:
    """Find out all facts. The port is checked only if it is given; `interface` is the interface that should hold it.

    `account`: the account that the gateway is to run as, if that is another one than this process's.
    """
    found = [_capabilities(), _wireguard_kernel(), _wireguard_go(), _tun(account), *_trials()]
    return [*found, look_at_port(interface, port)] if port else found


def _capabilities() -> Finding:
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [
        name
        for bit, name in _CAPABILITIES.items()
        if not held >> bit & 1 and not (bit == 39 and held >> _SYS_ADMIN & 1)
    ]
    # a gateway also runs without CAP_BPF, only without live frames
    fatal = [name for name in missing if name != "CAP_BPF"]
    return Finding(Fact.CAPABILITIES, not fatal, f"missing: {', '.join(missing)}" if missing else "all that are needed")


def _wireguard_kernel() -> Finding:
    try:
        with GenetlinkSocket(1) as netlink:
            netlink.resolve("wireguard")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Finding(Fact.WIREGUARD_KERNEL, False, f"not in this kernel ({os.uname().release})")
        return Finding(
            Fact.WIREGUARD_KERNEL, None, f"generic netlink: {error.strerror or os.strerror(error.errno or 0)}"
        )
    return Finding(Fact.WIREGUARD_KERNEL, True, f"in this kernel ({os.uname().release})")


def _wireguard_go() -> Finding:
    program = shutil.which("wireguard-go")
    return Finding(Fact.WIREGUARD_GO, program is not None, program or "not on PATH")


def _tun(account: Account | None) -> Finding:
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding(Fact.TUN, False, f"{TUN}: {error.strerror}")
    if account is None:
        return Finding(Fact.TUN, True, f"{TUN} opens")
    # A shell opens it, not Python, which may lie in a folder that is closed to the account.
    groups = os.getgrouplist(account.name, account.gid)
    command = ["/bin/sh", "-c", f": <>{TUN}"]
    try:
        done = subprocess.run(
            command, user=account.uid, group=account.gid, extra_groups=groups, capture_output=True, cwd="/"
        )
    except OSError as error:
        return Finding(Fact.TUN, None, f"not tried as {account.name}: {error.strerror}")
    if done.returncode:
        return Finding(Fact.TUN, False, f"{TUN}: closed to {account.name}: chmod 666 {TUN}, as udev sets it")
    return Finding(Fact.TUN, True, f"{TUN} opens for {account.name}")


def _trials() -> list[Finding]:
    command = [sys.executable, "-m", "wgjit.doctor.trial"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        reason = f"no answer in {_TRIAL_SECONDS} s"
    except OSError as error:
        reason = f"{sys.executable}: {error.strerror}"
    else:
        if done.returncode == 0:
            results = json.loads(done.stdout)
            return [Finding(fact, *results[fact.value]) for fact in _TRIED]
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"exit status {done.returncode}"
    return [Finding(fact, None, f"not tried: {reason}") for fact in _TRIED]


# --- the port -----------------------------------------------------------------------------------------------


def look_at_port(interface: str | None, port: int) -> Finding:
    """Whether the interface holds the UDP port, or can hold it; if not, which process holds it."""
    is_there = interface is not None and _exists(interface)
    if _is_free(port):
        if is_there:
            deaf = why_deaf(interface or "", port)
            return Finding(Fact.PORT, False, deaf or f"nothing listens on UDP {port}: is {interface} up?")
        return Finding(Fact.PORT, True, f"UDP {port} is free")
    if is_there:
        return Finding(Fact.PORT, True, f"UDP {port} is in use, as it should be while {interface} is up")
    owners = ", ".join(_owners(port)) or "the kernel or a process out of sight"
    return Finding(Fact.PORT, False, f"UDP {port} is in use by {owners}")


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
    return True


def _owners(port: int) -> Iterator[str]:
    """The processes with a UDP socket on this port, as `name (pid)`. Only processes that this user may inspect."""
    inodes: set[str] = set()
    for table in ("/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        inodes |= {f"socket:[{row.split()[9]}]" for row in rows if int(row.split()[1].rpartition(":")[2], 16) == port}
    for process in Path("/proc").iterdir():
        if not re.fullmatch(r"\d+", process.name):
            continue
        try:
            if any(os.readlink(descriptor) in inodes for descriptor in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text().strip()} ({process.name})"
        except OSError:
            continue  # the process is gone, or this user may not inspect it
