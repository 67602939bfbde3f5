"""What holds for replay: a captured packet is put back into the kernel, and is not captured again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.contracts.site import GATEWAYS, PORT, Site, collect, datagram, knock
from wgjit.drivers.base import Captured
from wgjit.drivers.capture.packet import PacketCapture
from wgjit.drivers.replay.inject import ReplayInjector
from wgjit.drivers.replay.xdp import LiveFrames
from wgjit.wire.packets import finish_checksum


@contextlib.contextmanager
def replaying(site: Site, live_frames: bool = True) -> Iterator[ReplayInjector]:
    with contextlib.closing(site.inside(ReplayInjector, live_frames)) as injector:
        yield injector


def captured_knock(site: Site, capture: PacketCapture, address: str) -> Captured:
    """A knock from the client, captured; the kernel has had it, too."""
    site.send(knock(1), to=address)
    (captured,) = collect(capture, 1)
    assert site.listener(address).receive(1) == [knock(1)]
    return captured


class ReplayContract:
    @pytest.mark.smp
    @pytest.mark.parametrize("address", GATEWAYS)
    @pytest.mark.parametrize("way", ["xdp", "raw"])
    def test_a_copy_arrives_again_and_is_not_captured_again(self, site: Site, way: str, address: str) -> None:
        with (
            contextlib.closing(site.inside(PacketCapture, PORT)) as capture,
            replaying(site, live_frames=way == "xdp") as injector,
        ):
            copy = captured_knock(site, capture, address)
            assert copy.packet != finish_checksum(copy.packet), "a veth leaves the checksum unfinished"
            assert site.inside(injector.inject, copy) == way

            arrival = site.listener(address).next()
            assert arrival is not None
            assert (arrival.payload, arrival.local) == (knock(1), address)
            if way == "xdp":
                assert arrival.ifindex == site.ifindex

            site.send(knock(2), to=address)  # the replay was before it
            assert [datagram(seen.packet).payload for seen in collect(capture, 1)] == [knock(2)]
            assert capture.read() == []

    def test_an_unfinished_checksum_would_be_dropped(self, site: Site) -> None:
        with (
            contextlib.closing(site.inside(PacketCapture, PORT)) as capture,
            contextlib.closing(site.inside(LiveFrames)) as frames,
        ):
            copy = captured_knock(site, capture, GATEWAYS[0])
            before = site.checksum_errors()
            site.inside(frames.send, copy.packet, copy.ifindex)
            site.send(knock(2))
            assert site.listener(GATEWAYS[0]).receive(1) == [knock(2)]
            assert site.checksum_errors() == before + 1

    @pytest.mark.parametrize("rp_filter", [1, 2])
    @pytest.mark.parametrize("way", ["xdp", "raw"])
    def test_source_validation_lets_it_pass(self, site: Site, way: str, rp_filter: int) -> None:
        for scope in ("all", "default", "lo", site.link.a):
            site.gateway.sysctl(f"net.ipv4.conf.{scope}.rp_filter", rp_filter)
        with (
            contextlib.closing(site.inside(PacketCapture, PORT)) as capture,
            replaying(site, live_frames=way == "xdp") as injector,
        ):
            assert site.inside(injector.inject, captured_knock(site, capture, GATEWAYS[0])) == way
            assert site.listener(GATEWAYS[0]).receive(1) == [knock(1)]

    def test_what_did_not_come_over_ethernet_goes_raw(self, site: Site) -> None:
        with contextlib.closing(site.inside(PacketCapture, PORT)) as capture, replaying(site) as injector:
            with site.gateway.socket() as local:
                local.sendto(knock(1), ("127.0.0.1", PORT))
            (copy,) = collect(capture, 1)
            assert site.listener("127.0.0.1").receive(1) == [knock(1)]
            assert site.inside(injector.inject, copy) == "raw"
            assert site.listener("127.0.0.1").receive(1) == [knock(1)]
            assert injector.xdp_failure is None

    def test_an_interface_that_fails_once_goes_raw_from_then_on(self, site: Site) -> None:
        with contextlib.closing(site.inside(PacketCapture, PORT)) as capture, replaying(site) as injector:
            copy = captured_knock(site, capture, GATEWAYS[0])
            gone = copy._replace(ifindex=9999)
            assert site.inside(injector.inject, gone) == "raw"
            assert injector.xdp_failure == "interface 9999: No such device"
            injector.xdp_failure = None
            assert site.inside(injector.inject, gone) == "raw"
            assert injector.xdp_failure is None  # not even tried
            assert site.inside(injector.inject, copy) == "xdp"
            assert site.listener(GATEWAYS[0]).receive(3) == [knock(1)] * 3

    def test_close_twice(self, site: Site) -> None:
        injector = site.inside(ReplayInjector)
        injector.close()
        injector.close()
