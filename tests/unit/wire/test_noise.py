"""Both sides of the handshake: over recorded vectors, against forgery, and for any input."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wire.vectors import ANSWERED, COOKIES, HANDSHAKES, OURS, Handshake
from wgjit.errors import InvalidValue
from wgjit.refusal import Refusal
from wgjit.wire.kdf import mac, nonce, open_
from wgjit.wire.keys import PresharedKey, PrivateKey, PublicKey
from wgjit.wire.messages import Initiation, parse_initiation, parse_response
from wgjit.wire.noise import Claimed, Initiator, Responder, SessionKeys, _mac1_key, random_index
from wgjit.wire.tai64n import Tai64n

# The u-coordinates of low order that 32 bytes can hold (https://cr.yp.to/ecdh.html#validate), top bit clear and set.
_P = 2**255 - 19
_LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    _P - 1,
    _P,
    _P + 1,
]
LOW_ORDER = [(u | top << 255).to_bytes(32, "little") for u in _LOW_ORDER for top in (0, 1)]

STAMP = Tai64n.from_unix(1_700_000_000)
GATEWAY, CLIENT, STRANGER = (PrivateKey(bytes([n]) * 32) for n in (1, 2, 3))
RESPONDER = Responder(GATEWAY)


def named(handshakes: list[Handshake]) -> list[object]:
    return [pytest.param(handshake, id=handshake.name) for handshake in handshakes]


def initiation(client: PrivateKey = CLIENT, responder: PrivateKey = GATEWAY) -> Initiation:
    parsed = parse_initiation(Initiator(client, responder.public()).initiate(random_index(), STAMP))
    assert isinstance(parsed, Initiation)
    return parsed


def claimed(message: Initiation, responder: Responder = RESPONDER) -> Claimed:
    outcome = responder.identify(message)
    assert isinstance(outcome, Claimed)
    return outcome


def forged(victim: PublicKey) -> Initiation:
    """What somebody sends who knows a peer's public key only: everything right up to the timestamp."""

    class Liar(Initiator):
        __slots__ = ()

    liar = Liar(STRANGER, RESPONDER.public_key)
    liar.public_key = victim
    parsed = parse_initiation(liar.initiate(1, STAMP))
    assert isinstance(parsed, Initiation)
    return parsed


# --- the vectors ----------------------------------------------------------------------------------------------


def test_both_implementations_were_recorded_in_full() -> None:
    assert (len(HANDSHAKES), len(ANSWERED), len(OURS), len(COOKIES)) == (20, 18, 12, 2)


@pytest.mark.parametrize("handshake", named(HANDSHAKES))
def test_recorded_initiations_prove(handshake: Handshake) -> None:
    responder = Responder(handshake.responder)
    message = parse_initiation(handshake.message("initiation"))
    assert isinstance(message, Initiation)
    assert responder.check_mac1(message)
    claim = claimed(message, responder)
    assert claim.public_key == handshake.initiator.public()
    timestamp = responder.prove(claim)
    assert isinstance(timestamp, Tai64n)
    assert abs(timestamp.unix - handshake.recorded_at) < 120


@pytest.mark.parametrize("handshake", named(HANDSHAKES))
def test_recorded_initiations_are_nothing_to_another_responder(handshake: Handshake) -> None:
    message = parse_initiation(handshake.message("initiation"))
    assert isinstance(message, Initiation)
    assert not RESPONDER.check_mac1(message)
    assert RESPONDER.identify(message) is Refusal.BAD_STATIC


def again(handshake: Handshake, preshared: PresharedKey | None) -> tuple[Initiator, bytes]:
    """Our client in the state that it was in when the handshake was recorded, and the message it makes."""
    responder = Responder(handshake.responder)
    message = parse_initiation(handshake.message("initiation"))
    assert isinstance(message, Initiation)
    timestamp = responder.prove(claimed(message, responder))
    assert isinstance(timestamp, Tai64n)
    client = Initiator(handshake.initiator, handshake.responder.public(), preshared)
    return client, client.initiate(message.sender, timestamp, handshake.ephemeral, handshake.cookie)


@pytest.mark.parametrize("handshake", named(OURS))
def test_recorded_initiations_are_rebuilt_to_the_byte(handshake: Handshake) -> None:
    assert again(handshake, handshake.preshared)[1] == handshake.message("initiation")


@pytest.mark.parametrize("handshake", named([handshake for handshake in OURS if handshake in ANSWERED]))
def test_recorded_responses_open_a_session(handshake: Handshake) -> None:
    response = handshake.message("response")
    other_psk = None if handshake.preshared else PresharedKey(bytes(31) + b"\1")
    assert again(handshake, other_psk)[0].consume_response(response) is Refusal.FORGED

    client, initiation_ = again(handshake, handshake.preshared)
    for bit in range(8 * len(response)):
        damaged = bytearray(response)
        damaged[bit // 8] ^= 1 << bit % 8
        if bit // 8 < 76:  # mac2, the rest, is for a responder under load only
            assert isinstance(client.consume_response(bytes(damaged)), Refusal)
    to_another = response[:8] + bytes([response[8] ^ 1]) + response[9:60]  # the index is not part of the transcript
    fitting = to_another + mac(_mac1_key(handshake.initiator.public()), to_another) + bytes(16)
    assert client.consume_response(fitting) is Refusal.FORGED
    session = client.consume_response(response)
    assert isinstance(session, SessionKeys)
    assert session.sender == int.from_bytes(initiation_[4:8], "little")
    assert session.receiver == int.from_bytes(response[4:8], "little")
    assert client.consume_response(response) is Refusal.FORGED, "an answer serves once"


@pytest.mark.parametrize("handshake", named(ANSWERED))
def test_recorded_responses_carry_the_mac_of_their_initiator(handshake: Handshake) -> None:
    response = handshake.message("response")
    assert response[60:76] == mac(_mac1_key(handshake.initiator.public()), response[:60])
    assert parse_response(response).receiver == parse_initiation(handshake.message("initiation")).sender


@pytest.mark.parametrize("handshake", named(COOKIES))
def test_recorded_cookie_replies(handshake: Handshake) -> None:
    client, _ = again(handshake, None)
    reply = handshake.message("cookie_reply")
    for offset in range(4, len(reply)):
        damaged = reply[:offset] + bytes([reply[offset] ^ 1]) + reply[offset + 1 :]
        assert client.consume_cookie_reply(damaged) is Refusal.FORGED
    cookie = client.consume_cookie_reply(reply)
    assert isinstance(cookie, bytes)
    used = next(other for other in OURS if other.cookie and other.responder == handshake.responder)
    assert cookie == used.cookie
    client.initiate(1, STAMP)
    assert client.consume_cookie_reply(reply) is Refusal.FORGED, "the reply is to another message"


# --- refusals -------------------------------------------------------------------------------------------------


def test_a_fresh_initiation_goes_all_the_way() -> None:
    message = initiation()
    assert RESPONDER.check_mac1(message)
    assert claimed(message).public_key == CLIENT.public()
    assert RESPONDER.prove(claimed(message)) == STAMP


def test_somebody_elses_key_is_a_claim_and_no_proof() -> None:
    message = forged(CLIENT.public())
    assert RESPONDER.check_mac1(message)
    assert claimed(message).public_key == CLIENT.public()
    assert RESPONDER.prove(claimed(message)) is Refusal.FORGED


def test_another_peers_timestamp_does_not_fit() -> None:
    """The proof is bound to the whole message: a piece of another initiation is a forgery."""
    ours, theirs = initiation(), initiation(STRANGER)
    spliced = ours._replace(encrypted_timestamp=theirs.encrypted_timestamp)
    assert RESPONDER.prove(claimed(spliced)) is Refusal.FORGED
    older = initiation()
    assert RESPONDER.prove(claimed(ours._replace(encrypted_timestamp=older.encrypted_timestamp))) is Refusal.FORGED


@pytest.mark.parametrize("offset", range(148))
def test_every_byte_counts(offset: int) -> None:
    """One changed byte is caught: by the shape, by mac1, and behind a mac1 made to fit by `identify` or `prove`."""
    whole = initiation().raw
    changed = whole[:offset] + bytes([whole[offset] ^ 0x40]) + whole[offset + 1 :]
    message = parse_initiation(changed)
    if offset < 4:
        assert message is (Refusal.BAD_RESERVED if offset else Refusal.BAD_TYPE)
        return
    assert isinstance(message, Initiation)
    if offset < 132:
        assert not RESPONDER.check_mac1(message)
    outcome = RESPONDER.identify(message)
    if 8 <= offset < 88:
        assert outcome is Refusal.BAD_STATIC
    elif 88 <= offset < 116:
        assert isinstance(outcome, Claimed)
        assert RESPONDER.prove(outcome) is Refusal.FORGED
    else:  # index and macs are no part of the proof
        assert isinstance(outcome, Claimed)
        assert RESPONDER.prove(outcome) == STAMP


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_points_of_low_order(point: bytes) -> None:
    assert RESPONDER.identify(initiation()._replace(ephemeral=point)) is Refusal.BAD_POINT
    assert RESPONDER.prove(claimed(forged(PublicKey(point)))) is Refusal.BAD_POINT
    with pytest.raises(InvalidValue, match="low order"):
        Initiator(CLIENT, PublicKey(point))


def test_a_response_with_a_low_order_point() -> None:
    client = Initiator(CLIENT, GATEWAY.public())
    client.initiate(9, STAMP)
    body = b"\2\0\0\0" + bytes(4) + (9).to_bytes(4, "little") + bytes(32) + bytes(16)
    message = body + mac(_mac1_key(CLIENT.public()), body) + bytes(16)
    assert client.consume_response(message) is Refusal.BAD_POINT


def test_an_answer_without_a_question() -> None:
    client = Initiator(CLIENT, GATEWAY.public())
    body = b"\2\0\0\0" + bytes(56)
    response = body + mac(_mac1_key(CLIENT.public()), body) + bytes(16)
    assert client.consume_response(response) is Refusal.FORGED
    assert client.consume_response(response[:-17] + b"\xff" + response[-16:]) is Refusal.BAD_MAC1
    assert client.consume_cookie_reply(b"\3\0\0\0" + bytes(60)) is Refusal.FORGED
    assert client.consume_response(b"") is client.consume_cookie_reply(b"") is Refusal.BAD_LENGTH


# --- the client -----------------------------------------------------------------------------------------------


def test_each_initiation_is_fresh() -> None:
    client = Initiator(CLIENT, GATEWAY.public())
    now = Tai64n.from_unix(time.time())
    messages = [client.initiate(1, now) for _ in range(20)]
    assert len({message[8:40] for message in messages}) == 20


def test_mac2_is_made_with_the_cookie() -> None:
    client = Initiator(CLIENT, GATEWAY.public())
    ephemeral = PrivateKey.generate()
    plain = client.initiate(1, STAMP, ephemeral)
    proud = client.initiate(1, STAMP, ephemeral, cookie=b"c" * 16)
    assert plain[:132] == proud[:132]
    assert plain[132:] == bytes(16)
    assert proud[132:] == mac(b"c" * 16, proud[:132])


def test_transport_data_is_sealed_as_section_5_4_6_says() -> None:
    session = SessionKeys(sender=1, receiver=0x01020304, sending=b"s" * 32, receiving=b"r" * 32)
    assert session.seal(0)[:16] == bytes.fromhex("04000000 04030201 0000000000000000")
    assert len(session.seal(0)) == 32
    message = session.seal(7, b"seventeen bytes!!")
    assert message[8:16] == (7).to_bytes(8, "little")
    assert open_(session.sending, message[16:], b"", nonce(7)) == b"seventeen bytes!!" + bytes(15)


# --- secrets and any input --------------------------------------------------------------------------------------


def test_nothing_secret_in_a_repr() -> None:
    client = Initiator(CLIENT, GATEWAY.public(), PresharedKey(b"p" * 32))
    client.initiate(1, STAMP)
    session = SessionKeys(sender=1, receiver=2, sending=b"s" * 32, receiving=b"r" * 32)
    claim = claimed(initiation())
    assert repr(claim) == f"Claimed({CLIENT.public()})"
    assert repr(RESPONDER) == f"Responder({GATEWAY.public()})"
    assert repr(client) == f"Initiator({CLIENT.public()})"
    assert repr(session) == "SessionKeys(sender=1, receiver=2)"


initiations = st.builds(
    Initiation,
    raw=st.binary(min_size=148, max_size=148),
    sender=st.integers(0, 2**32 - 1),
    ephemeral=st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from(LOW_ORDER)),
    encrypted_static=st.binary(min_size=48, max_size=48),
    encrypted_timestamp=st.binary(min_size=28, max_size=28),
    mac1=st.binary(min_size=16, max_size=16),
    mac2=st.binary(min_size=16, max_size=16),
)


@settings(deadline=None)
@given(message=initiations)
def test_any_initiation_is_refused_and_raises_nothing(message: Initiation) -> None:
    assert not RESPONDER.check_mac1(message)
    assert RESPONDER.identify(message) in (Refusal.BAD_STATIC, Refusal.BAD_POINT)


@settings(deadline=None)
@given(static=st.binary(min_size=32, max_size=32), stamp=st.binary(min_size=12, max_size=12))
def test_any_key_can_be_claimed_and_any_timestamp_proven(static: bytes, stamp: bytes) -> None:
    assert claimed(forged(PublicKey(static))).public_key == static
    assert RESPONDER.prove(claimed(forged(PublicKey(static)))) in (Refusal.FORGED, Refusal.BAD_POINT)
    message = parse_initiation(Initiator(CLIENT, GATEWAY.public()).initiate(1, Tai64n(stamp)))
    assert isinstance(message, Initiation)
    assert RESPONDER.prove(claimed(message)) == stamp


@settings(deadline=None)
@given(
    message=st.one_of(st.binary(max_size=200), st.binary(min_size=60, max_size=60), st.binary(min_size=88, max_size=88))
)
def test_any_answer_is_refused_and_raises_nothing(message: bytes) -> None:
    client = Initiator(CLIENT, GATEWAY.public())
    client.initiate(1, STAMP)
    for answer in (message, b"\2\0\0\0" + message, b"\3\0\0\0" + message):
        assert isinstance(client.consume_response(answer), Refusal)
        assert isinstance(client.consume_cookie_reply(answer), Refusal)
    body = b"\2\0\0\0" + bytes(4) + (1).to_bytes(4, "little") + message[:48].ljust(48, b"\x05")
    fitting = body + mac(_mac1_key(CLIENT.public()), body) + bytes(16)
    assert client.consume_response(fitting) in (Refusal.FORGED, Refusal.BAD_POINT)


def test_a_known_static_secret_proves_the_same_and_no_forgery() -> None:
    def claimed(by: Initiator) -> Claimed:
        initiation = parse_initiation(by.initiate(1, STAMP))
        assert isinstance(initiation, Initiation)
        found = RESPONDER.identify(initiation)
        assert isinstance(found, Claimed)
        return found

    client = Initiator(CLIENT, RESPONDER.public_key)
    first = claimed(client)
    assert first.static_secret is None
    assert RESPONDER.prove(first) == STAMP
    assert first.static_secret is not None
    again = claimed(client)
    assert RESPONDER.prove(again, first.static_secret) == STAMP
    assert again.static_secret == first.static_secret
    assert first.static_secret.hex() not in repr(first)
    forger = Initiator(STRANGER, RESPONDER.public_key)
    forger.public_key = client.public_key
    forged = claimed(forger)
    assert forged.public_key == client.public_key
    assert RESPONDER.prove(forged, first.static_secret) is Refusal.FORGED
    assert forged.static_secret is None
