"""The recorded handshakes of tests/vectors, as values. `./dev vectors` records them anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from wgjit.wire.keys import PresharedKey, PrivateKey
from wgjit.wire.packets import Datagram, peel

IMPLEMENTATIONS = ("linux", "wireguard-go")
FOLDER = Path(__file__).parents[2] / "vectors"


class Handshake(NamedTuple):
    name: str
    initiator: PrivateKey
    responder: PrivateKey
    preshared: PresharedKey | None
    ephemeral: PrivateKey | None
    """The initiator's, known where it was ours."""
    cookie: bytes | None
    """What the initiation's mac2 was made with."""
    packets: dict[str, bytes]
    """IP packets by what they carry: initiation, and response or cookie_reply."""
    recorded_at: int

    def message(self, kind: str) -> bytes:
        datagram = peel(self.packets[kind])
        assert isinstance(datagram, Datagram)
        return datagram.payload


def load(implementation: str) -> dict[str, Any]:
    """The file of one implementation."""
    recorded: dict[str, Any] = json.loads((FOLDER / f"{implementation}.json").read_text())
    assert recorded["implementation"] == implementation
    return recorded


def handshakes(recorded: dict[str, Any]) -> list[Handshake]:
    """A recording's handshakes as values."""
    return [_handshake(recorded, entry) for entry in recorded["handshakes"]]


def _handshake(recorded: dict[str, Any], entry: dict[str, Any]) -> Handshake:
    preshared, ephemeral, cookie = (entry[name] for name in ("preshared_key", "initiator_ephemeral", "cookie"))
    return Handshake(
        name=f"{recorded['implementation']}: {entry['name']}",
        initiator=PrivateKey.parse(entry["initiator_private_key"]),
        responder=PrivateKey.parse(entry["responder_private_key"]),
        preshared=PresharedKey.parse(preshared) if preshared else None,
        ephemeral=PrivateKey.parse(ephemeral) if ephemeral else None,
        cookie=bytes.fromhex(cookie) if cookie else None,
        packets={kind: bytes.fromhex(packet) for kind, packet in entry["packets"].items()},
        recorded_at=recorded["recorded_at"],
    )


_RECORDED = [load(implementation) for implementation in IMPLEMENTATIONS]
HANDSHAKES = [handshake for recorded in _RECORDED for handshake in handshakes(recorded)]
ANSWERED = [handshake for handshake in HANDSHAKES if "response" in handshake.packets]
OURS = [handshake for handshake in HANDSHAKES if handshake.ephemeral]
COOKIES = [handshake for handshake in HANDSHAKES if "cookie_reply" in handshake.packets]
PACKETS = [packet for handshake in HANDSHAKES for packet in handshake.packets.values()]
UNFINISHED = [bytes.fromhex(packet) for recorded in _RECORDED for packet in recorded["unfinished"]]
