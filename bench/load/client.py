"""One client of the load: what it sends when its time has come, and in answer. No clock, no socket.

It behaves as the kernel's own client does (timers.c, send.c): a new initiation with a new ephemeral key and a newer
timestamp for each try, mac2 from the second on if a cookie came, an initiation of the gateway's answered, the session
confirmed by the first transport data that it sends.

A connect counts from when the keys of both sides are known to agree. With `verify` that is when the reply to an ICMP
echo, sent through the new session, has opened; without, when the response has opened and a keepalive was sent.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bench.load.responder import answer
from bench.load.tunnel import open_data, receiver_of
from lab.echo import Address, Echo
from wgjit.model import PresharedKey, PrivateKey, PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.kdf import mac
from wgjit.wire.messages import COOKIE_REPLY, INITIATION, LENGTH, MAC2_COVERS, RESPONSE, TRANSPORT_DATA, parse_response
from wgjit.wire.noise import Initiator, SessionKeys

_KEPT: Final = 3
"""Sessions that open data: the present one, the one before, and one that is not confirmed (noise_keypairs)."""


@dataclass(frozen=True)
class Identity:
    """Who a client is."""

    private_key: PrivateKey
    address: Address
    """Inside the tunnel: its allowed IP."""
    preshared_key: PresharedKey | None = None


class Event(Enum):
    """What a message was to the client."""

    NOTHING = auto()
    AGREED = auto()
    """A new session is there, its first message is in the answer; for `verify` it is the echo."""
    UP = auto()
    """The connect counts."""


@dataclass(slots=True)
class Connect:
    """One connect, the first or a rekey. Times are seconds of whatever clock the caller has."""

    intended: float
    """When it was to begin, whatever held the sender up."""
    sent: float | None = None
    """When the first initiation left."""
    responded: float | None = None
    up: float | None = None
    attempts: int = 0
    cookies: int = 0
    flips: int = 0
    """Initiations of the gateway's that were answered."""
    refused: int = 0
    """Messages that did not open, or were nobody's: forged, garbled, for another."""
    late: int = 0
    """Responses to an initiation before the last."""
    echoes: int = 0
    is_first: bool = True
    given_up: bool = False


class Client:
    """A client and its sessions."""

    def __init__(
        self, number: int, identity: Identity, gateway: PublicKey, inside: Address | None, *, verify: bool = True
    ) -> None:
        """`inside`: the gateway's address in the tunnel, which answers echoes; only for `verify`.

        Raises InvalidValue for a gateway's key of low order, ValueError for addresses of different families.
        """
        self.number = number
        self.connect: Connect | None = None
        self._identity = identity
        self._gateway = gateway
        self._initiator = Initiator(identity.private_key, gateway, identity.preshared_key)
        self._prepared: list[tuple[Initiator, bytes]] = []
        self._cookie: bytes | None = None
        self._sessions: dict[int, SessionKeys] = {}
        self._session: SessionKeys | None = None
        self._offered: SessionKeys | None = None
        """One that the gateway began and that waits for its first message."""
        self._counter = 0
        self._made = 0
        self._sent_index = 0
        self._greatest = Tai64n(bytes(Tai64n.LENGTH))
        self._echo: Echo | None = None
        if verify:
            if inside is None:
                raise ValueError("verify: needs the gateway's address inside the tunnel")
            self._echo = Echo(identity.address, inside, b"load" + number.to_bytes(4, "big"))

    def __repr__(self) -> str:
        return f"Client({self.number})"

    def _index(self) -> int:
        """A new session index: the client's number, and a count that tells its own apart."""
        self._made += 1
        return (self.number << 12 | self._made & 0xFFF) & 0xFFFFFFFF

    # --- sending ----------------------------------------------------------------------------------------------

    def prepare(self, nanoseconds: int) -> None:
        """Make one more initiation beforehand, of this Unix time; they are sent in the order in which they are made."""
        initiator = copy.copy(self._initiator)
        self._prepared.append((initiator, initiator.initiate(self._index(), Tai64n.from_unix_ns(nanoseconds))))

    def begin(self, intended: float, *, is_first: bool = True) -> Connect:
        """A new connect; the caller then knocks."""
        self.connect = Connect(intended, is_first=is_first)
        return self.connect

    def knock(self, now: float, nanoseconds: int) -> bytes:
        """The next initiation of this connect; `nanoseconds` of Unix time, for one that was not prepared."""
        assert self.connect is not None
        if not self._prepared:
            self.prepare(nanoseconds)
        self._initiator, message = self._prepared.pop(0)
        self._sent_index = int.from_bytes(message[4:8], "little")
        if self._cookie is not None:
            message = message[:MAC2_COVERS] + mac(self._cookie, message[:MAC2_COVERS])
        self.connect.attempts += 1
        if self.connect.sent is None:
            self.connect.sent = now
        return message

    def again(self) -> bytes | None:
        """The echo once more, if its reply is still awaited."""
        connect = self.connect
        if connect is None or connect.up is not None or self._session is None or self._echo is None:
            return None
        connect.echoes += 1
        return self._seal(self._echo.request)

    def keepalive(self) -> bytes | None:
        """Empty transport data, which the kernel's client sends if it has had data and nothing to send for 10 s."""
        return None if self._session is None else self._seal(b"")

    def _seal(self, packet: bytes) -> bytes:
        assert self._session is not None
        self._counter += 1
        return self._session.seal(self._counter - 1, packet)

    # --- receiving --------------------------------------------------------------------------------------------

    def take(self, message: bytes, now: float) -> tuple[Event, bytes | None]:
        """What came for this client: what it means, and what is sent in answer."""
        kind = message[0] if len(message) >= 4 and message[1:4] == b"\0\0\0" else None
        if kind == RESPONSE and len(message) == LENGTH[RESPONSE]:
            return self._response(message, now)
        if kind == TRANSPORT_DATA:
            return self._data(message, now)
        if kind == COOKIE_REPLY and len(message) == LENGTH[COOKIE_REPLY]:
            return self._cookie_reply(message)
        if kind == INITIATION and len(message) == LENGTH[INITIATION]:
            return self._initiation(message)
        return self._refuse()

    def _refuse(self) -> tuple[Event, bytes | None]:
        if self.connect is not None:
            self.connect.refused += 1
        return Event.NOTHING, None

    def _response(self, message: bytes, now: float) -> tuple[Event, bytes | None]:
        connect = self.connect
        if connect is None:
            return Event.NOTHING, None
        response = parse_response(message)
        if not isinstance(response, Refusal) and response.receiver != self._sent_index:
            if response.receiver >> 12 == self.number & 0xFFFFF:
                connect.late += 1
                return Event.NOTHING, None
            return self._refuse()
        session = self._initiator.consume_response(message)
        if isinstance(session, Refusal):
            return self._refuse()
        self._keep(session)
        return self._agreed(session, connect, now)

    def _cookie_reply(self, message: bytes) -> tuple[Event, bytes | None]:
        cookie = self._initiator.consume_cookie_reply(message)
        if isinstance(cookie, Refusal):
            return self._refuse()
        self._cookie = cookie
        if self.connect is not None:
            self.connect.cookies += 1
        return Event.NOTHING, None

    def _initiation(self, message: bytes) -> tuple[Event, bytes | None]:
        identity = self._identity
        made = answer(identity.private_key, self._gateway, identity.preshared_key, self._index(), message)
        if isinstance(made, Refusal) or made.timestamp <= self._greatest:
            return self._refuse()
        self._greatest = made.timestamp
        self._keep(made.session)
        self._offered = made.session
        if self.connect is not None:
            self.connect.flips += 1
        return Event.NOTHING, made.message

    def _data(self, message: bytes, now: float) -> tuple[Event, bytes | None]:
        session = self._sessions.get(receiver_of(message) or 0)
        packet = None if session is None else open_data(session, message)
        if session is None or packet is None:
            return self._refuse()
        connect = self.connect
        if session is self._offered:  # the gateway's first message in a session that it began
            self._offered = None
            return self._agreed(session, connect, now)
        if connect is None or connect.up is not None or session is not self._session:
            return Event.NOTHING, None
        if self._echo is not None and self._echo.is_reply(packet):
            connect.up = now
            return Event.UP, None
        return Event.NOTHING, None

    def _keep(self, session: SessionKeys) -> None:
        self._sessions[session.sender] = session
        while len(self._sessions) > _KEPT:
            del self._sessions[next(iter(self._sessions))]

    def _agreed(self, session: SessionKeys, connect: Connect | None, now: float) -> tuple[Event, bytes | None]:
        """Use a session from now on: the first message that we send in it confirms it."""
        self._session, self._counter = session, 0
        if connect is None or connect.up is not None:
            return Event.NOTHING, self._seal(b"")
        if connect.responded is None:
            connect.responded = now
        if self._echo is not None:
            connect.echoes += 1
            return Event.AGREED, self._seal(self._echo.request)
        connect.up = now
        return Event.UP, self._seal(b"")
