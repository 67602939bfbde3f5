"""One client that sends each message when its caller wants it, and not before: for tests of what a message does."""

from __future__ import annotations

import ipaddress
import itertools
import socket
import time
from typing import Self

from bench.load.responder import answer
from wgjit.model import AllowedIP, Endpoint, PrivateKey, PublicKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.messages import INITIATION, RESPONSE
from wgjit.wire.noise import Initiator, SessionKeys, random_index
from wgjit.wire.packets import build

TICK = 0.025
"""Seconds. A server drops an initiation that follows a peer's last one within 20 ms (INITIATIONS_PER_SECOND)."""
PATIENCE = 60.0
"""Seconds for an answer, on a machine however busy."""

_count = itertools.count(1)


class SpokenClient:
    """A client and its present session. A context manager that closes its socket."""

    def __init__(self, server: PublicKey, port: int) -> None:
        """`port`: the server's on 127.0.0.1, in the network namespace of the calling thread."""
        self.private_key = PrivateKey.generate()
        self.public_key = self.private_key.public()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(("127.0.0.1", port))
        self._server = server
        self._initiator = Initiator(self.private_key, server)
        self.session: SessionKeys | None = None
        self.allowed_ips: tuple[AllowedIP, ...] = ()
        """Its peer's, as whoever installs the peer notes here."""
        self._counter = 0
        self._stamp = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def endpoint(self) -> Endpoint:
        """Where the server finds this client."""
        host, port = self.socket.getsockname()
        return Endpoint(socket.inet_aton(host), port)

    def knock(self) -> bytes:
        """Send a new initiation and return it."""
        time.sleep(TICK)
        self._stamp = max(self._stamp + 1, time.time_ns())
        message = self._initiator.initiate(random_index(), Tai64n.from_unix_ns(self._stamp))
        self.socket.send(message)
        return message

    def shake_hands(self) -> bytes:
        """Knock, and read the response. The session is not confirmed yet. Returns the initiation."""
        message = self.knock()
        session = self._initiator.consume_response(self._next(RESPONSE))
        assert not isinstance(session, Refusal), session
        self.session, self._counter = session, 0
        return message

    def answer(self) -> None:
        """Wait for an initiation of the server's, and answer it."""
        made = answer(self.private_key, self._server, None, random_index(), self._next(INITIATION))
        assert not isinstance(made, Refusal), made
        self.socket.send(made.message)

    def keepalive(self) -> None:
        """Send empty transport data."""
        self.send(b"")

    def say(self, source: str, destination: str) -> None:
        """Send a UDP packet through the tunnel."""
        ends = (Endpoint(ipaddress.ip_address(address).packed, 9) for address in (source, destination))
        self.send(build(*ends, b"data %d" % next(_count)))

    def send(self, packet: bytes) -> None:
        """Send an inner packet, whatever it is."""
        assert self.session is not None, "no handshake yet"
        self.socket.send(self.session.seal(self._counter, packet))
        self._counter += 1

    def send_forged(self) -> None:
        """Send transport data that is for this session by its index, and not sealed by its key."""
        assert self.session is not None, "no handshake yet"
        message = self.session.seal(self._counter, bytes(64))
        self.socket.send(message[:-1] + bytes([message[-1] ^ 1]))

    def _next(self, kind: int) -> bytes:
        while (message := self.socket.recv(2048))[0] != kind:
            pass
        return message
