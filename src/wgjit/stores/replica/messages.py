"""What a gateway and its follower say to each other: JSON objects, each a packet of a socket pair.

The first packet is the gateway's `Terms`. It has the URLs of the databases, with their passwords, so it is kept out of
arguments, environment, logs and errors. Then the gateway sends `{"nudge": true}`, `{"ask": KEY}`, `{"facts": {...}}`,
`{"want": true}`, `{"fails": [DEVICE, INODE]}` or `{"stop": true}`. The follower sends `{"status": {...}}`,
`{"news": true}` or `{"answer": KEY, ...}`.
"""

from __future__ import annotations

import contextlib
import json
import socket
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wgjit.errors import StoreError
from wgjit.model import PublicKey, Registration, Removed
from wgjit.stores import packing

MOST = 1 << 18
"""Bytes of a packet."""


@dataclass(frozen=True, slots=True)
class Description:
    """A gateway, as it describes itself to its fleet."""

    name: str
    epoch: int
    """The start of its process, Unix milliseconds."""
    public_key: PublicKey
    """Of its interface."""
    interface: str
    version: str
    """Of wgjit."""
    address: str | None = None
    """Where its clients reach it; only shown."""
    service: str | None = None
    """The addresses that it shares with other gateways, with commas between."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a replica is a copy of, and for which gateway."""

    url: str = field(repr=False)
    """The registry of record, as `postgresql://...`. It may hold a password."""
    gateway: Description
    read_url: str | None = field(default=None, repr=False)
    """A server near by that is read instead, such as a hot standby. None: `url` is read."""
    poll: float = 0.25
    """Seconds between two readings of what is new."""

    def packed(self, path: Path) -> dict[str, Any]:
        """The first packet for the follower of the replica `path`."""
        gateway = self.gateway
        return {
            "url": self.url,
            "read_url": self.read_url,
            "poll": self.poll,
            "path": str(path),
            "gateway": {
                "name": gateway.name,
                "epoch": gateway.epoch,
                "public_key": str(gateway.public_key),
                "interface": gateway.interface,
                "version": gateway.version,
                "address": gateway.address,
                "service": gateway.service,
            },
        }

    @classmethod
    def unpacked(cls, said: dict[str, Any]) -> tuple[Terms, Path]:
        """Terms and path of a first packet."""
        gateway = Description(**{**said["gateway"], "public_key": PublicKey.parse(said["gateway"]["public_key"])})
        return cls(said["url"], gateway, said["read_url"], said["poll"]), Path(said["path"])


def send(to: socket.socket, message: dict[str, Any]) -> bool:
    """Send a packet without waiting. Returns False if the other side does not read, or is gone."""
    with contextlib.suppress(OSError):
        to.send(json.dumps(message).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return True
    return False


def receive(of: socket.socket) -> dict[str, Any] | None:
    """Wait for the next packet. None if the other side is gone."""
    try:
        packet = of.recv(MOST)
    except ConnectionError:
        return None
    if not packet:
        return None
    message: dict[str, Any] = json.loads(packet)
    return message


def pack_answer(found: Registration | Removed | None) -> dict[str, Any]:
    """What the registry of record has of a key."""
    if found is None:
        return {}
    if isinstance(found, Removed):
        return {"removed": True, "claim": found.claim and _plain(packing.claim_row(found.claim)[1:])}
    return {
        "peer": _plain(packing.peer_row(found.peer)[1:]),
        "claim": found.claim and _plain(packing.claim_row(found.claim)[1:]),
        "holding": found.holding and _plain(packing.holding_row(found.holding)[1:]),
    }


def unpack_answer(key: PublicKey, said: dict[str, Any]) -> Registration | Removed | None:
    """What `pack_answer` made. Raises StoreError."""
    if "trouble" in said:
        raise StoreError(said["trouble"])
    claim = packing.row_claim(key, *_rows(said["claim"])) if said.get("claim") else None
    if said.get("removed"):
        return Removed(key, claim)
    if "peer" not in said:
        return None
    holding = packing.row_holding(key, *_rows(said["holding"])) if said.get("holding") else None
    return Registration(packing.row_peer(key, *_rows(said["peer"])), claim, holding)


def _plain(row: tuple[Any, ...]) -> list[Any]:
    return [{"b": b64encode(value).decode()} if isinstance(value, bytes) else value for value in row]


def _rows(said: list[Any]) -> list[Any]:
    return [b64decode(value["b"]) if isinstance(value, dict) else value for value in said]
