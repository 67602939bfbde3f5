"""A client and a gateway's core: every flow test reads as a transcript, event in, commands out."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from wgjit.core.gateway import Gateway
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import Command
from wgjit.core.vocabulary.events import Arrived, Event, Installed, LookedUp
from wgjit.core.vocabulary.moment import Now
from wgjit.model import Claim, Delivery, Endpoint, Peer, PrivateKey, PublicKey, Registration, Tai64n
from wgjit.wire.noise import Initiator, Responder
from wgjit.wire.packets import build

SERVER = Endpoint.parse("198.51.100.1:51820")
START = 1_800_000_000.0


class Client:
    """A peer with its private key, that knocks."""

    def __init__(self, gateway: PublicKey, number: int = 1) -> None:
        self.private = PrivateKey(bytes([number]) * 32)
        self.key = self.private.public()
        self.endpoint = Endpoint.parse(f"192.0.2.{number}:4000")
        self.peer = Peer(self.key, (ipaddress.ip_network(f"10.8.0.{number}/32"),), name=f"client {number}")
        self._initiator = Initiator(self.private, gateway)

    def initiation(self, at: float = START) -> bytes:
        return self._initiator.initiate(1, Tai64n.from_unix(at))

    def packet(self, at: float = START) -> bytes:
        return build(self.endpoint, SERVER, self.initiation(at))

    def registration(self, last: float | None = None, **changes: object) -> Registration:
        claim = None if last is None else Claim(self.key, Tai64n.from_unix(last), "g", self.endpoint, last)
        return Registration(replace(self.peer, **changes), claim)  # type: ignore[arg-type]


@dataclass
class Stage:
    """A core on a stage where time stands still until told."""

    gateway: Gateway
    public_key: PublicKey
    monotonic: float = 100.0
    wall: float = START
    numbers: int = field(default=0)

    def hear(self, event: Event) -> list[Command]:
        return self.gateway.handle(event, Now(self.monotonic, self.wall))

    def arrive(self, packet: bytes, held: bool = False) -> list[Command]:
        self.numbers += 1
        return self.hear(Arrived(self.numbers, packet, held))

    def answer(self, found: object, knock: int | None = None) -> list[Command]:
        return self.hear(LookedUp(knock or self.numbers, found))  # type: ignore[arg-type]

    def install(self, client: Client, held: bool = False) -> list[Command]:
        """A whole first knock that goes well."""
        self.arrive(client.packet(self.wall), held)
        self.answer(client.registration())
        return self.hear(Installed(client.key))

    def wait(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds

    def client(self, number: int = 1) -> Client:
        return Client(self.public_key, number)


@pytest.fixture
def make_stage() -> Callable[..., Stage]:
    def make(delivery: Delivery = Delivery.REPLAY, **settings: object) -> Stage:
        responder = Responder(PrivateKey(b"\x42" * 32))
        core = Gateway(responder, Settings(gateway="g", delivery=delivery, **settings))  # type: ignore[arg-type]
        return Stage(core, responder.public_key)

    return make


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client()
