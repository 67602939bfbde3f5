"""Capture by NFQUEUE on a kernel that has all of it: nft's queue and dead-man switch, and iptables'."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.netns import Lab
from tests.contracts.gateway_site import wait_for
from tests.contracts.held_capture import (
    IN_SESSION,
    HeldCaptureContract,
    holding,
    other_process,
    queues,
    rules,
)
from tests.contracts.site import GATEWAYS, PORT, Site, collect, datagram, knock
from wgjit.drivers.capture import rules_nft
from wgjit.drivers.capture.queue import Backend
from wgjit.drivers.capture.rules_nft import BURST

DEAD_AFTER = 10
"""Seconds, for the one test of it: the product's three may be over before a busy machine has sent a packet."""

SLOW = 1
"""Packets a second."""


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab)
    yield made
    made.close()


class TestHeldCapture(HeldCaptureContract):
    @pytest.fixture(params=["nft", "xt"])
    def queue_backend(self, request: pytest.FixtureRequest) -> Backend:
        backend: Backend = request.param
        return backend


class TestDeadManSwitch:
    def test_a_stuck_owner_stops_holding(self, site: Site) -> None:
        owner = other_process(site, "nft", DEAD_AFTER)
        os.kill(owner.pid, signal.SIGSTOP)
        site.send(knock(1), IN_SESSION)
        assert site.listener(GATEWAYS[0]).receive(1) == [IN_SESSION]
        time.sleep(DEAD_AFTER + 0.2)  # the time is what is tested
        site.send(knock(2), to=GATEWAYS[0])
        assert site.listener(GATEWAYS[0]).receive(1) == [knock(2)]
        assert list(queues(site).values()) == [1]  # the first one: its owner is alive, and may yet release it

        os.kill(owner.pid, signal.SIGCONT)

        def held_again() -> bool:
            site.send(knock(3))
            return list(queues(site).values()) != [1]

        wait_for(held_again)  # its heart beats

    @pytest.mark.usefixtures("patient_switch")
    def test_a_heartbeat_renews_and_an_expired_switch_comes_back(self, site: Site) -> None:
        with holding(site, "nft") as capture:
            site.gateway.run("nft", "flush", "set", "inet", "wgjit_wg0", "alive")
            site.send(knock(1))
            assert site.listener(GATEWAYS[0]).receive(1) == [knock(1)]
            for number in (2, 3):  # of an absent element and of a present one
                capture.heartbeat()
                site.send(knock(number))
                assert datagram(collect(capture, 1)[0].packet).payload == knock(number)
            assert "timeout 10m" in site.gateway.run("nft", "list", "set", "inet", "wgjit_wg0", "alive")

    @pytest.mark.usefixtures("patient_switch")
    def test_a_flushed_ruleset_comes_back_with_the_next_heartbeat(self, site: Site) -> None:
        with holding(site, "nft", max_length=1) as capture:
            site.send(knock(1), knock(2))
            assert site.listener(GATEWAYS[0]).receive(1) == [knock(2)]
            assert datagram(collect(capture, 1)[0].packet).payload == knock(1)
            assert capture.counters().dropped == 1
            site.gateway.run("nft", "flush", "ruleset")
            assert rules(site) == ""
            assert capture.counters().dropped == 1
            site.inside(capture.heartbeat)
            site.send(knock(3), knock(4))
            assert site.listener(GATEWAYS[0]).receive(1) == [knock(4)]
            assert datagram(collect(capture, 1)[0].packet).payload == knock(3)
        assert rules(site) == ""


@pytest.mark.usefixtures("patient_switch")
class TestSourceLimit:
    """What one source sends over its limit passes unseen; what a moment adds to it is next to nothing here."""

    @pytest.fixture(autouse=True)
    def slow_rate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a busy machine 600 packets may take so long that the true rate lets all of them in."""
        monkeypatch.setattr(rules_nft, "RATE", SLOW)

    def test_a_loud_sources_surplus_passes_unseen_and_is_counted(self, site: Site) -> None:
        with holding(site, "nft", max_length=1024) as capture, other_source(site, "10.9.0.3/24") as other:
            began = time.monotonic()
            site.send(*[knock(1)] * 600)
            took = time.monotonic() - began
            held = len(collect(capture, 600, timeout=5.0))
            assert BURST <= held <= BURST + SLOW * took + 1 < 600
            assert site.inside(capture.counters) == (held, 0, 600 - held)
            assert site.listener(GATEWAYS[0]).receive(10) == [knock(1)] * 10  # as much as its buffer took, at least

            other.sendto(knock(2), (GATEWAYS[0], PORT))
            assert [datagram(packet.packet).payload for packet in collect(capture, 1)] == [knock(2)]

    def test_a_64_is_one_source_and_the_next_another(self, site: Site) -> None:
        with (
            holding(site, "nft", max_length=1024) as capture,
            other_source(site, "fd09::3/64") as neighbour,
            other_source(site, "fd09:0:0:1::2/128") as stranger,
        ):
            began = time.monotonic()
            site.send(*[knock(2)] * 400, to=GATEWAYS[1])
            for _ in range(400):
                neighbour.sendto(knock(3), (GATEWAYS[1], PORT))
            for _ in range(100):
                stranger.sendto(knock(4), (GATEWAYS[1], PORT))
            took = time.monotonic() - began
            seen = Counter(datagram(packet.packet).payload for packet in collect(capture, 900, timeout=5.0))
            assert BURST <= seen[knock(2)] + seen[knock(3)] <= BURST + SLOW * took + 1 < 800
            assert seen[knock(4)] == 100

    def test_a_full_set_limits_nobody_new(self, site: Site) -> None:
        with holding(site, "nft", max_length=1024) as capture:
            crowd = ", ".join(f"{10 + n // 65536}.{n // 256 % 256}.{n % 256}.1 timeout 1h" for n in range(65535))
            site.gateway.run("nft", "-f", "-", input=f"add element inet wgjit_wg0 loud4 {{ {crowd} }}")
            site.send(*[knock(1)] * 600)
            assert len(collect(capture, 600)) == 600
            site.inside(capture.heartbeat)
            assert site.inside(capture.counters) == (600, 0, 0)


@contextmanager
def other_source(site: Site, address: str) -> Iterator[socket.socket]:
    """A socket of the client's that sends from one more address."""
    site.client.ip(f"address add {address} {'nodad ' if ':' in address else ''}dev {site.link.b}")
    host = address.partition("/")[0]
    with site.client.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sender:
        sender.bind((host, 0))
        yield sender


def test_what_the_firewall_drops_is_not_held(site: Site) -> None:
    site.gateway.run(
        "nft",
        "-f",
        "-",
        input=f"""table inet firewall {{
            chain input {{ type filter hook input priority filter; ip daddr 10.9.0.1 udp dport {PORT} drop; }}
        }}""",
    )
    with holding(site, "nft") as capture:
        site.send(knock(1), to="10.9.0.1")
        site.send(knock(2))
        assert [datagram(held.packet).payload for held in collect(capture, 1)] == [knock(2)]


def test_an_interface_may_have_any_name(site: Site) -> None:
    from wgjit.drivers.capture.queue import NfqueueCapture

    for name in ("wg-0.1", "wg@home+", "wg_ü", "0"):
        capture = site.inside(NfqueueCapture, name, PORT)
        site.send(knock())
        assert len(collect(capture, 1)) == 1
        site.inside(capture.close)
        assert rules(site) == ""
        assert site.listener(GATEWAYS[0]).receive(1) == [knock()]
