"""The watch for strays on the wire, by plain sockets, for both IP versions.

Clients and the gateway are on the loopback of one namespace, which the thread of the tests is in.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.netns import Lab, Namespace
from tests.contracts.gateway_site import LONG
from tests.inside import inside
from wgjit.drivers.strays.nft import INITIATION, NftStrays
from wgjit.drivers.strays.source import source_to
from wgjit.errors import CaptureError
from wgjit.model import Endpoint
from wgjit.wire.messages import INITIATION as KNOCK
from wgjit.wire.messages import RESPONSE, TRANSPORT_DATA

PORT = 51820
SHARED = {4: "203.0.113.1", 6: "2001:db8:1::1"}
OWN = {4: "192.0.2.1", 6: "2001:db8:2::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HEADERS = {4: 28, 6: 48}
FOREIGN = "table inet foreign { set other { type inet_service; elements = { 51820 }; }; }"


class Client:
    """A socket that sends to a gateway's port."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.socket = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
        self.socket.bind((OWN[version], 0))

    @property
    def endpoint(self) -> Endpoint:
        host, port = self.socket.getsockname()[:2]
        return Endpoint(socket.inet_pton(FAMILY[self.version], host), port)

    def says(self, kind: int = TRANSPORT_DATA, size: int = 0, to: str = "", port: int = PORT) -> None:
        """Send a message of this type and so many bytes, by default as many as an initiation has with its headers."""
        size = size or INITIATION[self.version] - HEADERS[self.version]
        self.socket.sendto(bytes([kind, 0, 0, 0]) + bytes(size - 4), (to or SHARED[self.version], port))

    def close(self) -> None:
        self.socket.close()


class StraysContract:
    """Needs nothing but a kernel with nftables and a log group."""

    @pytest.fixture
    def place(self) -> Iterator[Namespace]:
        with Lab() as lab, inside(namespace := lab.namespace("gw")):
            for version in (4, 6):
                for address in (SHARED[version], OWN[version]):
                    namespace.ip(f"address add {address}/{32 if version == 4 else 128} dev lo nodad")
            yield namespace

    @pytest.fixture
    def watch(self, place: Namespace) -> Iterator[NftStrays]:
        watch = NftStrays("wg0", PORT, list(SHARED.values()))
        yield watch
        watch.close()

    @pytest.fixture(params=[4, 6])
    def client(self, watch: NftStrays, request: pytest.FixtureRequest) -> Iterator[Client]:
        client = Client(request.param)
        yield client
        client.close()

    # --- what is reported --------------------------------------------------------------------------------------

    def test_data_from_a_known_endpoint_is_reported_once(self, watch: NftStrays, client: Client) -> None:
        watch.put([client.endpoint])
        client.says()
        (report,) = reports(watch)
        shared = Endpoint(socket.inet_pton(FAMILY[client.version], SHARED[client.version]), PORT)
        assert report == (client.endpoint, shared)
        for _ in range(5):
            client.says()
        assert watch.read() == []
        assert not watch.heartbeat()
        assert watch.counters()[1:] == (1, 0)

    def test_nothing_else_is_reported(self, watch: NftStrays, client: Client) -> None:
        """Not an unknown endpoint, another type, another address or port, nor malformed data."""
        stranger = Client(client.version)
        watch.put([client.endpoint])
        stranger.says()
        for kind in (KNOCK, RESPONSE, 3, 5):
            client.says(kind)
        client.says(to=OWN[client.version])
        client.says(port=PORT + 1)
        client.socket.sendto(b"\4\0\0\1" + bytes(300), (SHARED[client.version], PORT))
        assert watch.read() == [], "a report is there when the packet is sent"
        stranger.close()

    def test_a_report_has_as_many_bytes_as_an_answer_takes(self, watch: NftStrays, client: Client) -> None:
        """So that nobody who sends in another's name makes this machine send more than he did."""
        watch.put([client.endpoint])
        keepalive = 32
        for number in range(1, 10):
            client.says(size=keepalive)
            came = number * (keepalive + HEADERS[client.version])
            assert bool(watch.read()) == (came >= INITIATION[client.version]), came
            if came >= INITIATION[client.version]:
                break

    def test_who_is_held_elsewhere_anew_is_reported_anew(self, watch: NftStrays, client: Client) -> None:
        watch.put([client.endpoint])
        client.says()
        assert len(reports(watch)) == 1
        watch.put([client.endpoint])
        client.says()
        assert watch.read() == []
        watch.put_anew([client.endpoint])
        client.says(size=40)
        assert watch.read() == [], "bytes that were answered count no more"
        client.says()
        assert len(reports(watch)) == 1
        watch.put_anew([client.endpoint, client.endpoint])
        client.says()
        assert len(reports(watch)) == 1

    def test_who_is_forgotten_is_not_reported(self, watch: NftStrays, client: Client) -> None:
        watch.put([client.endpoint])
        watch.forget([client.endpoint])
        watch.forget([client.endpoint])
        client.says()
        assert watch.read() == []
        watch.put([client.endpoint])
        watch.clear()
        client.says()
        assert watch.read() == []
        assert watch.counters().known == 0

    def test_many_endpoints_and_mapped_addresses(self, watch: NftStrays) -> None:
        client = Client(4)
        mapped = Endpoint(bytes(10) + b"\xff\xff" + client.endpoint.address, client.endpoint.port)
        many = [Endpoint(bytes([10, 0, number >> 8, number & 255]), 4000 + number) for number in range(2500)]
        many += [Endpoint(bytes([32, 1, *bytes(12), number >> 8, number & 255]), 4000) for number in range(1200)]
        watch.put([*many, mapped])
        assert watch.counters().known == 3701
        client.says()
        assert [source for source, _ in reports(watch)] == [client.endpoint]
        watch.put_anew(many)
        watch.forget([*many, mapped])
        client.says()
        assert watch.read() == []
        client.close()

    def test_more_than_the_most_are_refused(self, place: Namespace) -> None:
        watch = NftStrays("wg0", PORT, [SHARED[4]], most=3)
        watch.put([Endpoint(bytes([10, 0, 0, number]), 9) for number in range(3)])
        with pytest.raises(CaptureError, match="3 endpoints are watched, and no more"):
            watch.put([Endpoint(bytes([10, 0, 1, 1]), 9)])
        watch.clear()
        watch.put([Endpoint(bytes([10, 0, 1, 1]), 9)])
        watch.put([Endpoint(bytes(15) + b"\1", 9)])  # no service address of this version: nothing to watch
        assert watch.counters().known == 1
        watch.close()

    def test_a_flood_in_the_name_of_known_endpoints_is_limited(self, watch: NftStrays) -> None:
        """Those that were not reported are reported with their next data."""
        count = 5000
        endpoints = [Endpoint(socket.inet_aton("127.0.0.1"), 10000 + number) for number in range(count)]
        watch.put(endpoints)
        seen: set[Endpoint] = set()
        for endpoint in endpoints:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind((endpoint.host, endpoint.port))
                udp.sendto(b"\4\0\0\0" + bytes(200), (SHARED[4], PORT))
            seen |= {source for source, _ in watch.read()}
        while found := watch.read():
            seen |= {source for source, _ in found}
        assert watch.heartbeat() is False
        assert watch.counters().seen == len(seen) + watch.counters().lost
        assert len(seen) >= 1000
        rest = [endpoint for endpoint in endpoints if endpoint not in seen]
        if rest:  # a machine that is slow stays below the limit
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind((rest[0].host, rest[0].port))
                while not watch.read():
                    udp.sendto(b"\4\0\0\0" + bytes(200), (SHARED[4], PORT))

    # --- the table ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("what", ["ruleset", "rules"])
    def test_a_flushed_table_is_put_back_and_others_are_left_alone(
        self, place: Namespace, watch: NftStrays, what: str
    ) -> None:
        client = Client(4)
        watch.put([client.endpoint])
        client.says()
        assert len(reports(watch)) == 1
        assert not watch.heartbeat()
        place.run("nft", "flush", *(["ruleset"] if what == "ruleset" else ["table", "inet", watch.table]))
        place.run("nft", "-f", "-", input=FOREIGN)
        for call in (watch.put, watch.put_anew, watch.forget):
            call([client.endpoint])  # is lost
        watch.clear()
        assert watch.heartbeat(), "it has to be filled anew"
        assert not watch.heartbeat()
        watch.put([client.endpoint])
        client.says()
        assert len(reports(watch)) == 1
        assert not watch.heartbeat()
        assert watch.counters().seen == 2, "the number goes on"
        watch.close()
        assert place.run("nft", "list", "tables").split() == ["table", "inet", "foreign"]
        client.close()
        watch.__init__("wg0", PORT, [SHARED[4]])  # type: ignore[misc]

    def test_a_dead_process_leaves_what_does_no_harm(self, place: Namespace) -> None:
        code = (
            f"import time; from {NftStrays.__module__} import NftStrays; from wgjit.model import Endpoint; "
            f"w = NftStrays('wg0', {PORT}, ['{SHARED[4]}']); w.put([Endpoint.parse('{OWN[4]}:7')]); print(); "
            "time.sleep(600)"
        )
        process = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, Client(4).socket as udp:
            server.bind((SHARED[4], PORT))
            server.settimeout(LONG)
            udp.sendto(b"\4\0\0\0" + bytes(200), (SHARED[4], PORT))
            assert len(server.recv(2048)) == 204
        watch = NftStrays("wg0", PORT, [SHARED[4]])
        listed = json.loads(place.run("nft", "-j", "list", "set", "inet", watch.table, "known4"))
        assert not any("elem" in item["set"] for item in listed["nftables"] if "set" in item)
        watch.close()

    def test_two_interfaces_do_not_disturb_each_other(self, watch: NftStrays, client: Client) -> None:
        other = NftStrays("wg1", PORT + 1, list(SHARED.values()))
        same = NftStrays("wg0 ", PORT, list(SHARED.values()))
        for one in (watch, other, same):
            one.put([client.endpoint])
        client.says()
        assert len(reports(watch)) == len(reports(same)) == 1
        assert other.read() == []
        other.close()
        same.close()
        watch.put_anew([client.endpoint])
        client.says()
        assert len(reports(watch)) == 1

    def test_without_nft_it_says_so(self, place: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(CaptureError, match="nft: not installed"):
            NftStrays("wg1", PORT, [SHARED[4]])

    # --- from where it would be sent ----------------------------------------------------------------------------

    def test_the_route_tells_the_source(self, place: Namespace) -> None:
        place.ip(
            "link add d0 type veth peer name d1", "link set d0 up", "link set d1 up", "address add 192.0.2.9/24 dev d0"
        )
        there = Endpoint.parse("198.51.100.7:4000")
        assert source_to(there) is None
        place.ip(f"route add 198.51.100.0/24 dev d0 src {SHARED[4]}")
        assert source_to(there) == socket.inet_aton(SHARED[4])
        place.ip("rule add fwmark 7 table 77", "route add 198.51.100.0/24 dev d0 src 192.0.2.9 table 77")
        assert source_to(there, 7) == socket.inet_aton("192.0.2.9")
        assert source_to(there) == socket.inet_aton(SHARED[4])
        place.ip("address add 2001:db8:9::9/64 dev d0 nodad", f"route add 2001:db8:7::/64 dev d0 src {SHARED[6]}")
        assert source_to(Endpoint.parse("[2001:db8:7::1]:4000")) == socket.inet_pton(socket.AF_INET6, SHARED[6])


def reports(watch: NftStrays) -> list[tuple[Endpoint, Endpoint]]:
    """The next reports, which are waited for."""
    assert select.select([watch.fileno()], [], [], LONG)[0], "nothing is reported"
    return watch.read()
