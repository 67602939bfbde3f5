"""A WireGuard server on a loopback port, as far as the load's clients meet one: it answers knocks and pings."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.load.client import Identity
from bench.load.responder import Answer, answer
from bench.load.tunnel import open_data, receiver_of
from wgjit.model import Endpoint, PrivateKey
from wgjit.refusal import Refusal
from wgjit.wire.messages import INITIATION, parse_initiation
from wgjit.wire.noise import Claimed, Responder, SessionKeys


class Server:
    """`knocks`: initiations that came; `deaf`: so many of the first ones are not answered."""

    def __init__(self, clients: Sequence[Identity], deaf: int = 0) -> None:
        self.key = PrivateKey.generate()
        self.knocks = 0
        self._deaf = deaf
        self._clients = {each.private_key.public(): each for each in clients}
        self._responder = Responder(self.key)
        self._sessions: dict[int, SessionKeys] = {}
        self._counters: dict[int, int] = {}

    def reply(self, message: bytes) -> bytes | None:
        """What is sent for this message."""
        if message[0] == INITIATION:
            return self._initiation(message)
        session = self._sessions[receiver_of(message) or 0]
        packet = open_data(session, message)
        assert packet is not None, "transport data that does not open"
        if not packet:
            return None
        counter = self._counters[session.sender] = self._counters.get(session.sender, -1) + 1
        return session.seal(counter, packet[:12] + packet[16:20] + packet[12:16] + b"\0" + packet[21:])

    def _initiation(self, message: bytes) -> bytes | None:
        self.knocks += 1
        if self.knocks <= self._deaf:
            return None
        initiation = parse_initiation(message)
        assert not isinstance(initiation, Refusal)
        claimed = self._responder.identify(initiation)
        assert isinstance(claimed, Claimed)
        client = self._clients.get(claimed.public_key)
        if client is None:
            return None
        made = answer(self.key, claimed.public_key, client.preshared_key, self.knocks, message)
        assert isinstance(made, Answer)
        self._sessions[self.knocks] = made.session
        return made.message


@contextmanager
def serving(server: Server, host: str = "127.0.0.1") -> Iterator[Endpoint]:
    """Let it answer at 127.0.0.1; gives where. With `host` 0.0.0.0 also elsewhere on loopback, from that address."""
    with socket.socket(type=socket.SOCK_DGRAM) as bound:
        bound.bind((host, 0))
        bound.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    message, source = bound.recvfrom(2048)
                except TimeoutError:
                    continue
                reply = server.reply(message)
                if reply is not None:
                    bound.sendto(reply, source)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Endpoint(ipaddress.IPv4Address("127.0.0.1").packed, bound.getsockname()[1])
        finally:
            over.set()
            thread.join()
