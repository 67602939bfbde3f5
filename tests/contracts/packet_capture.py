"""What holds for capture by AF_PACKET on every kernel."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.netns import Lab
from tests.contracts.site import GATEWAYS, PORT, Site, collect, datagram, knock
from wgjit.drivers.capture.packet import PacketCapture
from wgjit.errors import CaptureError


@contextlib.contextmanager
def capturing(site: Site, responses: bool = False) -> Iterator[PacketCapture]:
    with contextlib.closing(site.inside(PacketCapture, PORT, responses)) as capture:
        yield capture


class PacketCaptureContract:
    @pytest.mark.parametrize("address", GATEWAYS)
    def test_a_copy_is_taken_and_the_packet_goes_on(self, site: Site, address: str) -> None:
        with capturing(site) as capture:
            site.send(knock(7), to=address)
            (captured,) = collect(capture, 1)
        assert datagram(captured.packet).payload == knock(7)
        assert datagram(captured.packet).destination.host == address
        assert (captured.ifindex, captured.token, captured.ethernet) == (site.ifindex, None, True)
        assert site.listener(address).receive(1) == [knock(7)]

    @pytest.mark.parametrize("address", GATEWAYS)
    def test_a_session_and_other_ports_are_not_seen(self, site: Site, address: str) -> None:
        response, cookie, data = (bytes([kind, 0, 0, 0]) + bytes(88) for kind in (2, 3, 4))
        garbage = [b"\x01", b"\x04\x01\x00\x00 garbage"]
        with capturing(site) as capture, capturing(site, responses=True) as with_responses:
            site.senders[socket.AF_INET].sendto(knock(), ("10.9.0.1", PORT + 1))
            site.send(response, cookie, data, *garbage, to=address)
            assert [datagram(captured.packet).payload for captured in collect(capture, 2)] == garbage
            seen = [datagram(captured.packet).payload for captured in collect(with_responses, 3)]
            assert seen == [response, *garbage]

    def test_reads_at_most_the_limit_and_never_blocks(self, site: Site) -> None:
        with capturing(site) as capture:
            assert capture.read() == []
            site.send(*map(knock, range(5)))
            assert len(site.listener(GATEWAYS[0]).receive(5)) == 5
            assert [len(capture.read(limit=2)) for _ in range(4)] == [2, 2, 1, 0]

    def test_what_a_full_socket_loses_is_counted(self, site: Site) -> None:
        with capturing(site) as capture:
            for sock in capture._sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            site.send(*map(knock, range(100)))
            assert len(site.listener(GATEWAYS[0]).receive(100)) == 100
            read = len(capture.read(limit=1000))
            assert 0 < read < 100
            assert capture.counters() == (read, 100 - read, 0)
            site.send(knock(), to=GATEWAYS[1])
            assert len(collect(capture, 1)) == 1
            assert capture.counters() == (read + 1, 100 - read, 0)

    def test_outgoing_packets_are_not_seen(self, site: Site) -> None:
        with contextlib.closing(site.client.call(PacketCapture, PORT)) as capture:
            site.send(knock(1))
            with site.gateway.socket() as answer:
                answer.sendto(knock(2), ("10.9.0.2", PORT))
            assert [datagram(captured.packet).payload for captured in collect(capture, 1)] == [knock(2)]

    def test_a_packet_through_a_bridge_is_seen_once_on_the_bridge(self, lab: Lab, site: Site) -> None:
        bridge = lab.interface("b")
        site.gateway.ip(
            f"link add {bridge} type bridge",
            f"link set {bridge} up",
            f"address add 10.9.5.1/24 dev {bridge}",
            f"link set {site.link.a} master {bridge}",
        )
        site.client.ip(f"address add 10.9.5.2/24 dev {site.link.b}")
        with capturing(site) as capture:
            site.send(knock(1), to="10.9.5.1")
            site.send(knock(2), to="10.9.5.1")
            seen = collect(capture, 2)
            assert [datagram(captured.packet).payload for captured in seen] == [knock(1), knock(2)]
            assert {captured.ifindex for captured in seen} == {site.inside(socket.if_nametoindex, bridge)}
            assert all(captured.ethernet for captured in seen)

    def test_loopback_and_tun_are_not_ethernet(self, lab: Lab, site: Site) -> None:
        tun = lab.interface("t")
        descriptor = site.inside(os.open, "/dev/net/tun", os.O_RDWR)
        try:
            site.inside(fcntl.ioctl, descriptor, 0x400454CA, struct.pack("16sH22x", tun.encode(), 0x1001))  # TUNSETIFF
            site.gateway.ip(f"link set {tun} up", f"address add 10.9.6.1/24 dev {tun}")
            with capturing(site) as capture:
                with site.gateway.socket() as sender:
                    sender.sendto(knock(), ("127.0.0.1", PORT))
                (local,) = collect(capture, 1)
                assert (local.ifindex, local.ethernet) == (1, False)

                os.write(
                    descriptor, local.packet[:12] + bytes([10, 9, 6, 2]) + bytes([10, 9, 6, 1]) + local.packet[20:]
                )
                (tunnelled,) = collect(capture, 1)
                assert tunnelled.ifindex == site.inside(socket.if_nametoindex, tun)
                assert not tunnelled.ethernet
        finally:
            os.close(descriptor)

    def test_nothing_can_be_released(self, site: Site) -> None:
        with capturing(site) as capture, pytest.raises(CaptureError, match="holds none"):
            capture.release(1)

    def test_it_tells_which_right_is_missing(self) -> None:
        code = f"""
import os
from wgjit.drivers.capture.packet import PacketCapture
os.setresuid(65534, 65534, 65534)
PacketCapture({PORT})
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stderr.splitlines()[-1] == (
            "wgjit.errors.NotPermitted: packet socket: CAP_NET_RAW is missing; run as root"
        )
