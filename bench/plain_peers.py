"""Plain peers (a key, one IPv4 address) by number, with keys and addresses in no order, and a file of them to import.

Peer number n is computed from n, so no number of peers fills the memory.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from socket import inet_ntoa

from wgjit.management.peer_readers import Format
from wgjit.model import PublicKey

MOST = 1 << 24
"""Addresses in 10.0.0.0/8; beyond, those from 11.0.0.0 on follow."""

ROUND = 10_000
"""Lines written at a time."""

STRIDE = 2_654_435_761
"""Prime, so that n * STRIDE modulo the number of peers visits each address once, in no order."""


@dataclass(frozen=True)
class Imported:
    """What an import took."""

    seconds: float
    cpu: float
    """Seconds of CPU time of the command."""
    memory: float
    """MiB, the greatest."""


def public_key(number: int) -> PublicKey:
    """The key of a peer."""
    return PublicKey(hashlib.blake2s(number.to_bytes(8, "big")).digest())


def address(number: int, peers: int) -> str:
    """The address of a peer among so many."""
    return inet_ntoa(((10 << 24) + number * STRIDE % peers).to_bytes(4, "big"))


def write(path: Path, peers: int) -> None:
    """The file to import, as `wgjit peer export` writes it."""
    encode, digest = base64.b64encode, hashlib.blake2s
    with open(path, "wb") as file:
        file.write(b"public_key,name,allowed_ips,has_preshared_key,keepalive,enabled,expires_at,idle_timeout,labels\n")
        for start in range(0, peers, ROUND):
            numbers = range(start, min(peers, start + ROUND))
            file.write(
                b"".join(
                    b"%b,,%b/32,false,0,true,,,\n"
                    % (
                        encode(digest(number.to_bytes(8, "big")).digest()),
                        address(number, peers).encode(),
                    )
                    for number in numbers
                )
            )


def import_(text: Path, store: str, peers: int) -> Imported:
    """Have `wgjit peer import` bring the file into a registry, in a process of its own. Ends this one if it fails."""
    command = [sys.executable, "-m", "wgjit", "peer", "import", "--format", Format.CSV, str(text), "--store", store]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.perf_counter() - began
    if process.returncode or printed != f"imported {peers} peers\n":
        sys.exit(f"bench registry: the import ended with status {process.returncode} and said {printed!r}")
    return Imported(elapsed, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
