"""What a gateway promises on any WireGuard. It is tested only once, on the faster implementation.

Promises that depend on the kernel are in `gateway`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time

import pytest

from lab.gateway import WGJIT, Gateway, GatewayFailed
from lab.netns import run
from tests.contracts.gateway import GatewayContract
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, sent_packets
from wgjit.feed import feed
from wgjit.model import Claim, Endpoint, Peer, PrivateKey, Tai64n
from wgjit.record import Decision, FeedRecord
from wgjit.wire.noise import Initiator


class GatewayAnywhereContract(GatewayContract):
    """All of `GatewayContract`, and what need not be shown on each."""

    def test_an_unknown_a_disabled_and_an_expired_peer_get_nothing(self, site: Site) -> None:
        keys = {refusal: PrivateKey.generate() for refusal in ("unknown", "disabled", "expired")}
        site.registry.add([Peer(keys["disabled"].public(), enabled=False)])
        site.registry.add([Peer(keys["expired"].public(), expires_at=int(time.time()) - 1)])
        with site.up() as gateway, gateway.feed() as feed:
            before = site.gateway.call(sent_packets)
            for refusal, key in keys.items():
                site.send([Initiator(key, site.server.public_key).initiate(1, Tai64n.from_unix(time.time()))])
                record = feed.next()
                assert (record["refusal"], record["public_key"]) == (refusal, str(key.public()))
            assert site.server.peers() == {}
            assert site.gateway.call(sent_packets) == before

    def test_a_peer_added_while_running_counts_from_its_next_knock(self, site: Site) -> None:
        client = site.client(registered=False)
        with site.up():
            site.registry.add([client.registration])
            assert seamless(client.first_ping(INSIDE[0]))

    def test_the_second_gateway_on_an_interface_refuses_to_start(self, site: Site) -> None:
        client = site.client()
        with site.up() as gateway:
            with pytest.raises(GatewayFailed, match=f"process {gateway.process.pid}"):
                site.up()
            assert seamless(client.first_ping(INSIDE[0]))

    def test_a_clock_in_the_future_is_refused_and_a_reset_claim_lets_back_in(self, site: Site) -> None:
        client = site.client()
        ahead = Initiator(client.private_key, site.server.public_key).initiate(1, Tai64n.from_unix(time.time() + 7200))
        future = Claim(
            client.public_key, Tai64n.from_unix(time.time() + 7200), "g", Endpoint.parse("10.9.0.2:1"), time.time()
        )
        with site.up() as gateway, gateway.feed() as feed:
            site.send([ahead])
            assert feed.next()["refusal"] == "future"
            site.registry.save_claims([future])
            assert client.first_ping(INSIDE[0], timeout=1) is None
            assert feed.next()["refusal"] == "stale"
            assert site.registry.reset_claim(client.public_key)
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))

    def test_a_supervisor_hears_that_it_is_ready_alive_and_ending(self, site: Site) -> None:
        path = site.lab.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(str(path))
            supervisor.settimeout(60)
            heard = b""
            with Gateway(site.gateway, site.server.name, store=site.path, through=("env", f"NOTIFY_SOCKET={path}")):
                while b"READY=1" not in heard or b"WATCHDOG=1" not in heard:
                    heard += supervisor.recv(4096) + b"\n"
            while b"STOPPING=1" not in heard:
                heard += supervisor.recv(4096) + b"\n"

    def test_a_start_that_fails_takes_back_what_it_made(self, site: Site) -> None:
        name = site.lab.interface("wg")
        config = site.lab.folder / "bad.toml"
        (site.lab.folder / "key").write_text(PrivateKey.generate().reveal_base64())
        config.write_text(
            f'[interface]\nprivate_key_file = "{site.lab.folder}/key"\nlisten_port = {PORT}\n'
            f'[gateway]\ndelivery = "hold"\n'
        )
        # The port is taken by the site's own interface, and the name is free.
        with pytest.raises(GatewayFailed):
            Gateway(site.gateway, name, "--config", config, store=site.path)
        assert name not in site.gateway.run("ip", "-brief", "link")

    def test_the_feed_command_follows_the_gateway(self, site: Site) -> None:
        client = site.client()
        with site.up(), site.listener("--json", "--count", "1") as listener:
            assert seamless(client.first_ping(INSIDE[0]))
            record = json.loads(listener.communicate(timeout=60)[0])
            assert (record["public_key"], record["decision"]) == (str(client.public_key), "installed")
            assert listener.returncode == 0

    def test_the_feed_command_is_readable_without_json(self, site: Site) -> None:
        client = site.client()
        with site.up(), site.listener("--count", "1") as listener:
            assert seamless(client.first_ping(INSIDE[0]))
            (line,) = listener.communicate(timeout=60)[0].splitlines()
            for word in (str(client.public_key), client.name, "10.9.0.2:", "proven", "installed", "µs"):
                assert word in line

    def test_without_a_gateway_the_feed_watches_and_changes_nothing(self, site: Site) -> None:
        client = site.client(registered=False)
        with site.listener("--json", "--count", "1") as listener:
            assert client.first_ping(INSIDE[0], timeout=0.5) is None
            record = json.loads(listener.communicate(timeout=60)[0])
        assert (record["public_key"], record["proven"], record["decision"]) == (
            str(client.public_key),
            True,
            "observed",
        )
        assert site.server.peers() == {}

    def test_the_feed_in_python(self, site: Site) -> None:
        client = site.client()

        async def listen() -> FeedRecord:
            async for knock in feed(site.server.name):
                return knock
            raise AssertionError("the feed ended")

        async def connect_and_listen() -> FeedRecord:
            heard = asyncio.ensure_future(listen())
            ping = asyncio.ensure_future(asyncio.to_thread(client.first_ping, INSIDE[0]))
            assert seamless(await ping)
            return await asyncio.wait_for(heard, 60)

        with site.up():
            knock = asyncio.run(connect_and_listen())
        assert (knock.public_key, knock.decision) == (client.public_key, Decision.INSTALLED)

    def test_decode_tells_the_same_from_a_recording(self, site: Site) -> None:
        client = site.client(registered=False)
        recording, key = site.lab.folder / "knocks.pcap", site.lab.folder / "server.key"
        key.write_text(site.server.private_key.reveal_base64())
        tcpdump = site.gateway.popen(
            "tcpdump", "--immediate-mode", "-U", "-i", site.link.a, "-c", "1", "-w", recording, f"udp port {PORT}",
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert tcpdump.stderr is not None
        assert any("listening on" in line for line in tcpdump.stderr)
        assert client.first_ping(INSIDE[0], timeout=0.5) is None
        assert tcpdump.wait(60) == 0
        (line,) = run(*WGJIT, "decode", "--private-key", key, recording, "--json").splitlines()
        record = json.loads(line)
        assert (record["public_key"], record["proven"], record["refusal"]) == (str(client.public_key), True, None)
        assert record["destination"] == f"10.9.0.1:{PORT}"
