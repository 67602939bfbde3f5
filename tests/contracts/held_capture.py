"""What holds for capture by NFQUEUE, with nftables and with iptables rules."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.contracts.gateway_site import wait_for
from tests.contracts.site import GATEWAYS, PORT, Site, collect, datagram, knock
from wgjit.drivers.capture.queue import Backend, NfqueueCapture
from wgjit.drivers.capture.queue_messages import statuses
from wgjit.errors import CaptureError

IN_SESSION = b"\x04\x00\x00\x00" + bytes(28)
"""Transport data: it passes by what is held, so its arrival shows that what was sent before it waits."""


@contextlib.contextmanager
def holding(site: Site, backend: Backend, queue: int | None = None, max_length: int = 64) -> Iterator[NfqueueCapture]:
    """A capture whose heart does not beat; `patient_switch` sees to it that nobody minds."""
    capture = site.inside(NfqueueCapture, "wg0", PORT, queue, backend, max_length)
    try:
        yield capture
    finally:
        site.inside(capture.close)


def other_process(site: Site, backend: Backend, dead_after: int = 600) -> subprocess.Popen[str]:
    """A gateway's capture in a process of its own, with a beating heart; it reads and releases nothing."""
    code = f"""
import time
from wgjit.drivers.capture import rules_nft
from wgjit.drivers.capture.queue import NfqueueCapture
rules_nft.DEAD_AFTER = {dead_after}
capture = NfqueueCapture("wg0", {PORT}, backend={backend!r})
print("ready", flush=True)
while True:
    capture.heartbeat()
    time.sleep(0.5)
"""
    process = site.gateway.popen(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def rules(site: Site) -> str:
    """All of the gateway's firewall rules that are ours."""
    listing = site.gateway.run("nft", "list", "ruleset")  # iptables-nft's rules, too
    for program in ("iptables-legacy", "ip6tables-legacy"):
        listing += site.gateway.run(program, "-t", "mangle", "-S")
    return "\n".join(line for line in listing.splitlines() if re.search("queue|NFQUEUE", line))


def flush(site: Site, how: str) -> None:
    """As a reload of a firewall does: with all tables, or with the rules alone."""
    if how == "ruleset":
        site.gateway.run("nft", "flush", "ruleset")
    else:
        for line in site.gateway.run("nft", "list", "tables").splitlines():
            site.gateway.run("nft", "flush", *line.split())
    for program in ("iptables-legacy", "ip6tables-legacy"):
        site.gateway.run(program, "-t", "mangle", "-F")


def queues(site: Site) -> dict[int, int]:
    """Packets that wait in the gateway's queues, by queue."""
    table = site.gateway.run("cat", "/proc/thread-self/net/netfilter/nfnetlink_queue")
    return {status.number: status.waiting for status in statuses(table)}


@pytest.mark.usefixtures("patient_switch")
class HeldCaptureContract:
    @pytest.mark.smp
    def test_several_are_held_and_released_in_any_order(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend) as capture:
            for address in GATEWAYS:
                site.send(knock(1), knock(2), knock(3), IN_SESSION, to=address)
                listener = site.listener(address)
                assert listener.receive(1) == [IN_SESSION]
                held = collect(capture, 3)
                assert [datagram(h.packet).payload for h in held] == [knock(1), knock(2), knock(3)]
                assert {h.ifindex for h in held} == {site.ifindex}
                assert queues(site)[capture.queue] == 3

                for number in (1, 0, 2):
                    token = held[number].token
                    assert token is not None
                    capture.release(token)
                    capture.flush()
                    arrival = listener.next()
                    assert arrival is not None
                    assert arrival.payload == knock(number + 1)
                    assert (arrival.local, arrival.ifindex) == (address, site.ifindex)
            assert site.inside(capture.counters) == (6, 0, 0)

    def test_garbage_is_held_and_a_session_never(self, site: Site, queue_backend: Backend) -> None:
        session = [bytes([kind, 0, 0, 0]) + bytes(60) for kind in (2, 3, 4)]
        garbage = [b"\x01", b"\x04\x00\x00\x01" + bytes(20), bytes(1400)]
        with holding(site, queue_backend) as capture:
            for address in GATEWAYS:
                site.senders[site.listener(address).socket.family].sendto(knock(), (address, PORT + 1))
                site.send(*garbage, *session, to=address)
                assert site.listener(address).receive(3) == session
                assert [datagram(h.packet).payload for h in collect(capture, 3)] == garbage

    def test_a_full_queue_lets_packets_by(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend, max_length=4) as capture:
            site.send(*map(knock, range(10)))
            assert site.listener(GATEWAYS[0]).receive(6) == [knock(number) for number in range(4, 10)]
            held = collect(capture, 4)
            assert [datagram(h.packet).payload for h in held] == [knock(number) for number in range(4)]
            assert site.inside(capture.counters) == (4, 6, 0)
            assert held[0].token is not None
            capture.release(held[0].token)
            capture.flush()
            site.send(knock(10))
            assert datagram(collect(capture, 1)[0].packet).payload == knock(10)

    @pytest.mark.smp
    def test_a_full_socket_lets_packets_by_and_is_survived(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend, max_length=1000) as capture:
            capture._netfilter.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            site.send(*map(knock, range(100)), IN_SESSION)
            passed = 0
            while site.listener(GATEWAYS[0]).receive(1) != [IN_SESSION]:
                passed += 1
            assert 0 < passed < 100
            assert len(collect(capture, 100 - passed)) == 100 - passed
            site.send(knock(100))  # the gap in the ids shows with the next packet
            assert datagram(collect(capture, 1)[0].packet).payload == knock(100)
            assert site.inside(capture.counters) == (101 - passed, passed, 0)

    def test_close_lets_all_go_on_and_takes_its_rules_back(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend) as capture:
            assert rules(site)
            for address in GATEWAYS:
                site.send(*map(knock, range(4)), IN_SESSION, to=address)
                assert site.listener(address).receive(1) == [IN_SESSION]
            collect(capture, 1)  # read or not, all go on
            assert queues(site) == {capture.queue: 8}
        for address in GATEWAYS:
            assert sorted(site.listener(address).receive(4)) == [knock(number) for number in range(4)]
        assert rules(site) == ""
        assert queues(site) == {}
        capture.close()
        site.send(knock(9))
        assert site.listener(GATEWAYS[0]).receive(1) == [knock(9)]

    @pytest.mark.parametrize("how", ["rules", "ruleset"])
    def test_rules_that_another_program_takes_away_are_put_back_within_seconds_and_that_is_told(
        self, site: Site, queue_backend: Backend, how: str
    ) -> None:
        with holding(site, queue_backend) as capture:
            site.send(knock(1))
            assert datagram(collect(capture, 1)[0].packet).payload == knock(1)
            for address in (1, 2):  # as often as it happens
                assert not site.inside(capture.heartbeat), "nobody has taken them away"
                before = rules(site).count("\n")
                flush(site, how)
                assert rules(site).count("\n") < before or not rules(site)
                wait_for(lambda: bool(site.inside(capture.heartbeat)))
                assert rules(site).count("\n") == before
                site.send(knock(1 + address))
                assert datagram(collect(capture, 1)[0].packet).payload == knock(1 + address)
            assert site.inside(capture.counters) == (3, 0, 0)
        assert rules(site) == ""

    def test_a_killed_owner_is_passed_by_and_replaced(self, site: Site, queue_backend: Backend) -> None:
        owner = other_process(site, queue_backend)
        site.send(knock(1), IN_SESSION)
        assert site.listener(GATEWAYS[0]).receive(1) == [IN_SESSION]
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        left = rules(site)
        assert left
        site.send(knock(2))
        assert site.listener(GATEWAYS[0]).receive(1) == [knock(2)]

        with holding(site, queue_backend) as capture:
            assert len(rules(site).splitlines()) == len(left.splitlines())
            site.send(knock(3))
            assert datagram(collect(capture, 1)[0].packet).payload == knock(3)
        assert rules(site) == ""

    def test_a_queue_of_another_is_left_alone(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend) as first:
            before = rules(site)
            with pytest.raises(CaptureError, match=rf"queue {first.queue}: held by another program \(netlink port \d+"):
                site.inside(NfqueueCapture, "wg1", PORT + 1, first.queue, queue_backend)
            assert rules(site) == before
            second = site.inside(NfqueueCapture, "wg0", PORT, None, queue_backend)
            site.inside(second.close)
            assert second.queue == first.queue + 1

    @pytest.mark.smp
    def test_what_is_released_goes_on_when_flushed_and_in_that_order(self, site: Site, queue_backend: Backend) -> None:
        listener = site.listener(GATEWAYS[0])
        with holding(site, queue_backend, max_length=1024) as capture:
            site.send(*map(knock, range(200)), IN_SESSION)
            assert listener.receive(1) == [IN_SESSION]
            tokens = [held.token for held in collect(capture, 200)]
            for token in reversed(tokens[:150]):
                assert token is not None
                capture.release(token)
            site.send(IN_SESSION)
            assert listener.receive(1) == [IN_SESSION]  # and nothing before it
            assert queues(site)[capture.queue] == 200
            capture.flush()
            assert queues(site)[capture.queue] == 50
            assert listener.receive(150) == [knock(number) for number in reversed(range(150))]
            capture.flush()  # of nothing
            assert queues(site)[capture.queue] == 50

            for token in tokens[150:]:
                assert token is not None
                capture.release(token)
            site.inside(capture.heartbeat)  # flushes what nobody has
            assert listener.receive(50) == [knock(number) for number in range(150, 200)]

    def test_verdicts_that_could_not_be_sent_are_sent_later(
        self, site: Site, queue_backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with holding(site, queue_backend) as capture:
            site.send(knock(1), knock(2))
            for held in collect(capture, 2):
                assert held.token is not None
                capture.release(held.token)

            def no_memory(*_: object) -> int:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

            with monkeypatch.context() as patch:
                patch.setattr(capture._netfilter, "send_prepared", no_memory)
                with pytest.raises(CaptureError, match="verdicts: No buffer space available"):
                    capture.flush()
            assert queues(site) == {capture.queue: 2}
            capture.flush()
            assert site.listener(GATEWAYS[0]).receive(2) == [knock(1), knock(2)]

    def test_close_lets_go_on_what_was_not_flushed(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend) as capture:
            site.send(knock(1))
            (held,) = collect(capture, 1)
            assert held.token is not None
            capture.release(held.token)
        assert site.listener(GATEWAYS[0]).receive(1) == [knock(1)]

    def test_a_token_is_good_once(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend) as capture:
            site.send(knock())
            (held,) = collect(capture, 1)
            assert held.token is not None
            capture.release(held.token)
            for token in (held.token, 12345):
                with pytest.raises(CaptureError, match=f"packet {token} is not held"):
                    capture.release(token)

    def test_packets_that_go_with_their_interface_are_survived(self, site: Site, queue_backend: Backend) -> None:
        with holding(site, queue_backend) as capture:
            site.send(knock(1), knock(2))
            gone = collect(capture, 2)
            site.gateway.ip(f"link set {site.link.a} down")
            assert queues(site) == {capture.queue: 0}
            with site.gateway.socket() as local:
                local.sendto(knock(3), ("127.0.0.1", PORT))
            (kept,) = collect(capture, 1)
            for held in (gone[0], kept, gone[1]):
                assert held.token is not None
                capture.release(held.token)
            capture.flush()  # the kernel has never heard of two of them, and the third goes on
            assert site.listener(GATEWAYS[0]).receive(1) == [knock(3)]
            assert capture.read() == []
            with site.gateway.socket() as local:
                local.sendto(knock(4), ("127.0.0.1", PORT))
            assert datagram(collect(capture, 1)[0].packet).payload == knock(4)
