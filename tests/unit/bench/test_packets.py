"""The load generator makes what it says: each kind is refused as its table states, and nothing is a duplicate."""

from __future__ import annotations

import ipaddress
from itertools import islice

import pytest

from bench.packets import FRAME_LENGTH, KINDS, SPOOFED_MOST, frame, frames, sources
from wgjit.core.gateway import Gateway
from wgjit.core.settings import Settings
from wgjit.core.vocabulary.commands import Lookup
from wgjit.core.vocabulary.events import Arrived, LookedUp
from wgjit.core.vocabulary.moment import Now
from wgjit.core.vocabulary.told import Tell
from wgjit.model import Endpoint, Peer, PrivateKey, Registration
from wgjit.refusal import Refusal
from wgjit.wire.noise import Responder
from wgjit.wire.packets import Datagram, peel

TARGET = Endpoint.parse("10.66.0.1:51820")
MAC = bytes(range(6))
EXPECTED = {
    "bad-mac1": Refusal.BAD_MAC1,
    "garbage": Refusal.BAD_STATIC,
    "forged": Refusal.FORGED,
    "unknown": Refusal.UNKNOWN,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_gateway_refuses_each_kind_for_its_reason(kind: str) -> None:
    responder = Responder(PrivateKey.generate())
    victim = Peer(PrivateKey.generate().public(), (ipaddress.ip_network("10.8.0.2/32"),))
    gateway = Gateway(responder, Settings())
    messages = list(islice(KINDS[kind](responder.public_key, victim.public_key), 20))
    now = Now(1.0, 1e9)
    refusals = []
    for number, made in enumerate(frames(messages, sources(7), TARGET, MAC, 20)):
        commands = gateway.handle(Arrived(number, made[14:], held=False), now)
        if isinstance(commands[0], Lookup):
            found = Registration(victim) if commands[0].key == victim.public_key else None
            commands = gateway.handle(LookedUp(number, found), now)
        refusals += [command.record.refusal for command in commands if isinstance(command, Tell)]
    assert refusals == [EXPECTED[kind]] * 20


def test_a_frame_is_whole() -> None:
    source = sources(1)[0]
    message = next(KINDS["garbage"](PrivateKey.generate().public(), PrivateKey.generate().public()))
    made = frame(source, TARGET, MAC, message)
    assert len(made) == FRAME_LENGTH
    assert made[:6] == MAC
    assert made[12:14] == b"\x08\x00"
    assert peel(made[14:]) == Datagram(source, TARGET, message)


def test_sources_are_distinct_and_within_the_network_for_benchmarks() -> None:
    made = sources(50_000)
    assert len({source.address for source in made}) == 50_000
    network = ipaddress.ip_network("198.18.0.0/15")
    assert all(ipaddress.ip_address(source.address) in network for source in (made[0], made[-1]))
    assert all(0 < source.port < 65536 for source in made)
    for count in (0, SPOOFED_MOST):
        with pytest.raises(ValueError, match="sources"):
            sources(count)


def test_messages_and_senders_go_around_their_own_circles() -> None:
    made = list(frames([bytes([n]) * 148 for n in range(2)], sources(3), TARGET, MAC, 6))
    seen = [peel(each[14:]) for each in made]
    assert [each.payload[0] for each in seen if isinstance(each, Datagram)] == [0, 1, 0, 1, 0, 1]
    assert [each.source for each in seen if isinstance(each, Datagram)] == sources(3) * 2
