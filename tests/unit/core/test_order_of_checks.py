"""The order of the checks: what a knock costs before it is refused, and whom its refusal costs anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from tests.forge import forge_initiation
from tests.unit.core.conftest import SERVER, START, Client, Stage
from tests.unit.core.test_gateway import kinds, told
from wgjit.core.vocabulary.commands import Lookup
from wgjit.model import Tai64n
from wgjit.refusal import Refusal
from wgjit.wire import noise
from wgjit.wire.packets import build


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The public key of each Diffie-Hellman that a responder makes from now on."""
    made: list[bytes] = []
    read = noise._public  # once for each exchange

    def counted(public: bytes) -> X25519PublicKey:
        made.append(public)
        return read(public)

    monkeypatch.setattr(noise, "_public", counted)
    return made


def with_a_bad_mac1(client: Client) -> bytes:
    bad = bytearray(client.initiation())
    bad[120] ^= 1
    return build(client.endpoint, SERVER, bytes(bad))


def test_a_bad_mac1_costs_no_diffie_hellman(stage: Stage, client: Client, exchanges: list[bytes]) -> None:
    assert told(stage.arrive(with_a_bad_mac1(client))).refusal is Refusal.BAD_MAC1
    assert exchanges == []
    assert kinds(stage.arrive(client.packet())) == [Lookup]
    assert len(exchanges) == 1, "the fixture does not see what a good knock costs"
    assert told(stage.answer(None)).refusal is Refusal.UNKNOWN
    assert len(exchanges) == 1, "a key that the registry does not know is not proven"


def test_a_proof_is_seen_by_the_same_count(stage: Stage, client: Client, exchanges: list[bytes]) -> None:
    stage.install(client)
    assert len(exchanges) == 2
    assert exchanges[1] == client.key


def test_a_copy_costs_no_diffie_hellman(stage: Stage, client: Client, exchanges: list[bytes]) -> None:
    packet = client.packet()
    stage.arrive(packet)
    assert told(stage.arrive(packet)).refusal is Refusal.DUPLICATE
    assert len(exchanges) == 1


def test_a_source_over_its_rate_costs_no_diffie_hellman(
    make_stage: Callable[..., Stage], exchanges: list[bytes]
) -> None:
    stage = make_stage(source_rate=1.0)  # two at once
    client = stage.client()
    for _ in range(2):
        assert kinds(stage.arrive(client.packet())) == [Lookup]
    assert told(stage.arrive(client.packet())).refusal is Refusal.RATE_LIMITED
    assert len(exchanges) == 2


def test_over_the_budget_no_diffie_hellman_is_made(make_stage: Callable[..., Stage], exchanges: list[bytes]) -> None:
    stage = make_stage(exchanges=20.0)  # ten at once
    for number in range(1, 30):
        stage.arrive(stage.client(number).packet())
    assert 0 < len(exchanges) <= 10


def test_garbage_takes_nothing_of_its_sources_rate(make_stage: Callable[..., Stage]) -> None:
    """The rate counts initiations to this gateway's key alone: behind a shared address there may be anything."""
    stage = make_stage(source_rate=1.0)
    client = stage.client()
    for _ in range(10):
        assert told(stage.arrive(with_a_bad_mac1(client))).refusal is Refusal.BAD_MAC1
    assert kinds(stage.arrive(client.packet())) == [Lookup]


def test_a_remote_registry_is_asked_for_no_forgery(make_stage: Callable[..., Stage], exchanges: list[bytes]) -> None:
    stage = make_stage(store_is_local=False)
    client = stage.client()
    forged = forge_initiation(stage.public_key, client.key, Tai64n.from_unix(START))
    assert told(stage.arrive(build(client.endpoint, SERVER, forged))).refusal is Refusal.FORGED
    assert len(exchanges) == 2
    assert kinds(stage.arrive(client.packet())) == [Lookup]
    assert len(exchanges) == 4
