"""Floods of initiations: clients connect, residents rekey, memory stays bounded, and afterwards all is as before.

The network is that of `bench.flood`, which measures the same for a longer time and at the full rate.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from bench.flood import PORT, SPOOFED, Site, flooding, run
from bench.packets import sources
from lab.gateway import Gateway
from lab.netns import Lab
from lab.wireguard import Backend, Client, WireGuard
from wgjit.model import Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.messages import COOKIE_REPLY, LENGTH, RESPONSE
from wgjit.wire.noise import Initiator, SessionKeys

SECONDS = 3
RATE = 8_000.0
EXPECTED = {
    "bad-mac1": Refusal.BAD_MAC1,
    "garbage": Refusal.BAD_STATIC,
    "forged": Refusal.FORGED,
    "unknown": Refusal.UNKNOWN,
}


class FloodContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            yield Site(lab, backend, clients=3 + 1 + SECONDS)

    @pytest.mark.parametrize(
        ("kind", "spoofed"), [("bad-mac1", False), ("garbage", True), ("forged", True), ("unknown", False)]
    )
    def test_a_flood_passes_by(self, site: Site, kind: str, spoofed: bool) -> None:
        outcome = run(site, kind, spoofed, True, RATE, SECONDS, "hold")

        print(outcome)
        assert outcome.rate > RATE / 4  # it was a flood, even on a busy machine
        assert outcome.status["refusals"][EXPECTED[kind]] > 100  # and the gateway was in it
        assert len(outcome.connects) == SECONDS
        assert outcome.rekeys
        assert outcome.missed() == []

    def test_the_kernels_own_defence_works_through_hold(self, site: Site) -> None:
        """Under load WireGuard answers with a cookie; the next initiation, with that cookie, installs and connects."""
        client = site.clients[0]
        path = site.flood_file("garbage", sources(SPOOFED))
        site.reset(install=False)
        client.remove_peer(client.server)  # its own attempts are not what is meant
        with Gateway(site.gateway, site.server.name, store=site.path, delivery="hold"), flooding(site, path, RATE, 60):
            cookies, keys = knock_until_connected(client, lambda: fall_behind(site.server))
        assert cookies >= 1
        assert keys is not None
        assert client.public_key in site.server.peers()


def fall_behind(server: WireGuard) -> None:
    """Have a WireGuard of userspace find a crowd of packets at once: on a quiet machine it keeps pace with the flood.

    The kernel's, on one CPU beside the daemon, does not.
    """
    if server.pid is None:
        return
    os.kill(server.pid, signal.SIGSTOP)
    try:
        time.sleep(0.1)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def knock_until_connected(
    client: Client, without_cookie: Callable[[], None], patience: float = 50.0
) -> tuple[int, SessionKeys | None]:
    """Knock as a client does, only more often: gives the number of cookies got, and the session, if one came about.

    An initiation without a cookie is sent until a cookie has come, so that the session is one that a cookie opened;
    `without_cookie` is called before each of these.
    """
    initiator = Initiator(client.private_key, client.server)
    number = client.addresses[0].ip.packed[-1] - 1
    cookie: bytes | None = None
    cookies = 0
    deadline = time.monotonic() + patience
    with client.namespace.socket() as udp:
        udp.settimeout(0.3)
        while time.monotonic() < deadline:
            if cookie is None:
                without_cookie()
            message = initiator.initiate(1, Tai64n.from_unix_ns(time.time_ns()), cookie=cookie)
            udp.sendto(message, (f"10.10.{number}.1", PORT))
            try:
                answer = udp.recv(2048)
            except TimeoutError:
                continue
            if len(answer) == LENGTH[COOKIE_REPLY]:
                reply = initiator.consume_cookie_reply(answer)
                if not isinstance(reply, Refusal):
                    cookie, cookies = reply, cookies + 1
            elif len(answer) == LENGTH[RESPONSE] and cookie is not None:
                keys = initiator.consume_response(answer)
                if isinstance(keys, SessionKeys):
                    return cookies, keys
    return cookies, None
