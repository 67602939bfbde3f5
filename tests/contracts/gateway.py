"""What a running gateway promises, on real WireGuard: the same tests over kernel WireGuard and wireguard-go.

Each client is a real WireGuard client; the gateway is the real `wgjit up` in a process of its own. The topology is
drawn in `gateway_site`.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.gateway import WGJIT, Gateway, GatewayFailed
from lab.netns import Lab, run
from lab.wireguard import STDIN, Backend, Client, WireGuard
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, sent_packets, wait_for
from tests.forge import forge_initiation
from wgjit.core.record import Decision, FeedRecord
from wgjit.feed import feed
from wgjit.model import Claim, Endpoint, PresharedKey, PrivateKey, Tai64n
from wgjit.refusal import Refusal
from wgjit.wire.noise import Initiator


class GatewayContract:
    """Subclass with a `backend`; `deliveries` are those that this kernel can do."""

    backend: Backend
    deliveries = ("hold", "replay", "flip")

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    @pytest.mark.parametrize("endpoint", [f"10.9.0.1:{PORT}", f"[fd09::1]:{PORT}"], ids=["ipv4", "ipv6"])
    @pytest.mark.parametrize("delivery", ["hold", "replay", "flip"])
    def test_a_knock_connects(self, site: Site, delivery: str, endpoint: str) -> None:
        client = site.client(endpoint=endpoint)
        with site.up(delivery) as gateway, gateway.feed() as feed:
            assert site.server.peers() == {}
            assert seamless(client.first_ping(INSIDE[0]))
            record = feed.next(public_key=str(client.public_key))
            assert (record["decision"], record["delivery"]) == ("installed", delivery)
            assert (record["name"], record["proven"], record["refusal"]) == (client.name, True, None)
            assert Endpoint.parse(record["source"]).port == client.port
            assert seamless(client.ping(INSIDE[1]))
            (resident,) = site.server.peers().values()
            assert set(resident.allowed_ips) == set(client.registration.allowed_ips)
            if delivery == "flip":
                wait_for(lambda: site.server.peer(client.public_key).keepalive == 0)

    def test_without_delivery_the_clients_retry_connects(self, site: Site) -> None:
        client = site.client()
        site.gateway.lose_first_knocks(PORT)
        with site.up("none"):
            seconds = client.first_ping(INSIDE[0])
            assert seconds is not None
            assert 4.5 < seconds < 9

    def test_auto_takes_the_best_that_works_here(self, site: Site) -> None:
        client = site.client()
        with site.up("auto") as gateway:
            assert gateway.about["delivery"] == self.deliveries[0]
            assert seamless(client.first_ping(INSIDE[0]))

    @pytest.mark.parametrize("delivery", ["hold", "replay"])
    def test_a_preshared_key(self, site: Site, delivery: str) -> None:
        client = site.client(psk=PresharedKey.generate())
        with site.up(delivery):
            assert seamless(client.first_ping(INSIDE[0]))

    @pytest.mark.parametrize("delivery", ["hold", "replay", "flip"])
    def test_a_client_behind_nat(self, site: Site, delivery: str) -> None:
        client = site.client(site.natted(), f"10.7.0.1:{PORT}")
        with site.up(delivery) as gateway, gateway.feed() as feed:
            assert seamless(client.first_ping(INSIDE[0]))
            assert feed.next(public_key=str(client.public_key))["source"].startswith("10.7.0.2:")

    def test_a_client_that_roams_to_another_port_stays_up(self, site: Site) -> None:
        client = site.client()
        with site.up():
            assert seamless(client.first_ping(INSIDE[0]))
            port = client.change_port()
            assert seamless(client.ping(INSIDE[0]))
            endpoint = site.server.peer(client.public_key).endpoint
            assert endpoint is not None
            assert endpoint.port == port

    @pytest.mark.parametrize("delivery", ["hold", "replay"])
    def test_a_residents_new_handshake_is_left_to_the_kernel(self, site: Site, delivery: str) -> None:
        client = site.client()
        with site.up(delivery) as gateway, gateway.feed() as feed:
            assert seamless(client.first_ping(INSIDE[0]))
            before = site.server.peer(client.public_key)
            assert feed.next()["decision"] == "installed"
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))
            record = feed.next()
            assert (record["decision"], record["proven"]) == ("resident", True)
            after = site.server.peer(client.public_key)
            assert after.rx_bytes > before.rx_bytes, "the peer was installed anew"
            assert gateway.status()["decisions"] == {"installed": 1, "resident": 1}
            shown = run(*WGJIT, "status", site.server.name)
            assert "installed 1, resident 1" in shown

    def test_peers_that_were_there_stay_and_work(self, site: Site) -> None:
        old = site.client(registered=False)
        site.server.add_peer(old.public_key, [str(prefix) for prefix in old.registration.allowed_ips])
        assert seamless(old.first_ping(INSIDE[0]))
        new = site.client()
        with site.up():
            assert seamless(old.ping(INSIDE[0]))
            assert seamless(new.first_ping(INSIDE[0]))
        assert set(site.server.peers()) == {old.public_key, new.public_key}

    def test_an_unknown_a_disabled_and_an_expired_peer_get_nothing(self, site: Site) -> None:
        unknown = site.client(registered=False)
        with site.up() as gateway, gateway.feed() as feed:
            site.send(
                [Initiator(unknown.private_key, site.server.public_key).initiate(1, Tai64n.from_unix(time.time()))]
            )
            record = feed.next()
            assert (record["refusal"], record["public_key"]) == ("unknown", str(unknown.public_key))
            assert site.server.peers() == {}

    def test_a_peer_added_while_running_counts_from_its_next_knock(self, site: Site) -> None:
        client = site.client(registered=False)
        with site.up():
            site.registry.add([client.registration])
            assert seamless(client.first_ping(INSIDE[0]))

    def test_sessions_outlive_sigterm_and_a_restart_takes_them_over(self, site: Site) -> None:
        client, late = site.client(), site.client()
        gateway = site.up()
        assert seamless(client.first_ping(INSIDE[0]))
        assert gateway.stop() == 0
        assert seamless(client.ping(INSIDE[0]))
        assert set(site.server.peers()) == {client.public_key}
        with site.up() as gateway, gateway.feed() as feed:
            assert gateway.about["residents"] == 1
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))
            assert feed.next()["decision"] == "resident"
            assert seamless(late.first_ping(INSIDE[0]))

    @pytest.mark.parametrize("delivery", ["hold", "replay"])
    def test_after_kill_9_residents_rekey_and_a_restart_serves_new_clients(self, site: Site, delivery: str) -> None:
        client, late = site.client(), site.client()
        gateway = site.up(delivery)
        assert seamless(client.first_ping(INSIDE[0]))
        gateway.kill()
        client.forget()
        assert seamless(client.first_ping(INSIDE[0])), "what the dead daemon left behind stands in the way"
        with site.up(delivery):
            assert seamless(late.first_ping(INSIDE[0]))
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))

    def test_a_forged_initiation_installs_nothing_and_sends_nothing(self, site: Site) -> None:
        client = site.client()
        with site.up() as gateway, gateway.feed() as feed:
            before = site.gateway.call(sent_packets, site.link.a)
            site.send([forge_initiation(site.server.public_key, client.public_key, Tai64n.from_unix(time.time()))])
            record = feed.next()
            assert (record["refusal"], record["proven"], record["public_key"]) == (
                "forged",
                False,
                str(client.public_key),
            )
            assert site.server.peers() == {}
            assert site.gateway.call(sent_packets, site.link.a) == before
            assert seamless(client.first_ping(INSIDE[0])), "the forger must not stand in the true client's way"

    def test_an_old_initiation_sent_again_is_stale(self, site: Site) -> None:
        client = site.client()
        old = Initiator(client.private_key, site.server.public_key).initiate(1, Tai64n.from_unix(time.time() - 10))
        with site.up() as gateway, gateway.feed() as feed:
            assert seamless(client.first_ping(INSIDE[0]))
            assert feed.next()["decision"] == "installed"
            wait_for(lambda: site.registry.lookup(client.public_key).claim is not None)  # type: ignore[union-attr]
            gateway.stop()
        site.server.remove_peer(client.public_key)
        with site.up() as gateway, gateway.feed() as feed:
            site.send([old])
            assert feed.next()["refusal"] == "stale"
            assert site.server.peers() == {}

    def test_garbage_changes_nothing_and_is_counted_by_refusal(self, site: Site) -> None:
        client = site.client()
        chance = random.Random(1)
        good = Initiator(client.private_key, site.server.public_key).initiate(1, Tai64n.from_unix(time.time()))
        noise = [chance.randbytes(chance.randrange(1500)) for _ in range(5000)]
        cut = [good[: chance.randrange(148)] for _ in range(4000)]
        wrong = [good[:110] + chance.randbytes(38) for _ in range(1000)]
        sessions = {b"\x02\0\0\0", b"\x03\0\0\0", b"\x04\0\0\0"}
        garbage = [packet for packet in noise + cut + wrong if packet[:4] not in sessions]
        with site.up() as gateway, gateway.feed() as feed:
            for start in range(0, len(garbage), 500):
                site.send(garbage[start : start + 500])
                want = min(start + 500, len(garbage))

                def counted(want: int = want) -> bool:
                    status = gateway.status()
                    return sum(status["refusals"].values()) + status["capture_dropped"] >= want

                wait_for(counted)
            refusals = gateway.status()["refusals"]
            assert set(refusals) >= {Refusal.BAD_TYPE, Refusal.BAD_LENGTH, Refusal.BAD_MAC1}
            assert refusals[Refusal.BAD_MAC1] == 1000
            assert site.server.peers() == {}
            assert seamless(client.first_ping(INSIDE[0]))
            assert feed.next(public_key=str(client.public_key))["decision"] == "installed"

    def test_the_second_gateway_on_an_interface_refuses_to_start(self, site: Site) -> None:
        client = site.client()
        with site.up() as gateway:
            with pytest.raises(GatewayFailed, match=f"process {gateway.process.pid}"):
                site.up()
            assert seamless(client.first_ping(INSIDE[0]))

    def test_twenty_clients_at_once(self, site: Site) -> None:
        clients = [site.client(site.direct) for _ in range(20 if self.backend == "kernel" else 8)]
        sockets = []
        with site.up():
            for client in clients:
                udp = site.direct.socket()
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, client.name.encode())
                udp.sendto(b"knock", (INSIDE[0], 9))
                sockets.append(udp)
            keys = {client.public_key for client in clients}
            wait_for(lambda: {k for k, p in site.server.peers().items() if p.last_handshake} == keys, 4.5)
        for udp in sockets:
            udp.close()

    def test_it_makes_the_interface_if_there_is_none(self, site: Site) -> None:
        name = site.lab.interface("wg")
        key = PrivateKey.generate()
        (site.lab.folder / "key").write_text(key.reveal_base64())
        config = site.lab.folder / "wg.toml"
        backend = {"kernel": "kernel", "go": "userspace", "auto": "auto"}[self.backend]
        config.write_text(
            f'[interface]\nprivate_key_file = "{site.lab.folder}/key"\nlisten_port = 4500\n'
            f'addresses = ["10.88.0.1/16"]\nbackend = "{backend}"\n'
        )
        client = Client(
            site.direct, key.public(), "10.9.0.1:4500", ["10.88.0.2/32"], ["10.88.0.0/16"], backend=self.backend
        )
        site.registry.add([client.registration])
        with Gateway(site.gateway, name, "--config", config, store=site.path):
            assert seamless(client.first_ping("10.88.0.1"))
        assert seamless(client.ping("10.88.0.1")), "the interface must outlive its gateway"

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
            supervisor.settimeout(20)
            heard = b""
            with Gateway(site.gateway, site.server.name, store=site.path, through=("env", f"NOTIFY_SOCKET={path}")):
                while b"READY=1" not in heard or b"WATCHDOG=1" not in heard:
                    heard += supervisor.recv(4096) + b"\n"
            while b"STOPPING=1" not in heard:
                heard += supervisor.recv(4096) + b"\n"

    # --- the ground shifts ----------------------------------------------------------------------------------

    def test_another_key_and_port_are_followed(self, site: Site) -> None:
        client = site.client()
        with site.up() as gateway:
            key = PrivateKey.generate()
            site.gateway.run(
                "wg", "set", site.server.name, "listen-port", "4501", "private-key", STDIN, input=key.reveal_base64()
            )
            wait_for(lambda: gateway.status().get("public_key") == str(key.public()))
            changed = Client(
                site.direct, key.public(), "10.9.0.1:4501", ["10.8.9.9/32"], ["10.8.0.0/16"], backend=self.backend
            )
            site.registry.add([changed.registration])
            assert seamless(changed.first_ping(INSIDE[0]))
            assert gateway.status()["listen_port"] == 4501
        assert client.public_key not in site.server.peers()

    def test_an_interface_deleted_and_made_again_is_followed(self, site: Site) -> None:
        client = site.client()
        with site.up() as gateway:
            assert seamless(client.first_ping(INSIDE[0]))
            site.server.close()
            wait_for(lambda: "waiting_for" in gateway.status())
            site.server = WireGuard(
                site.gateway,
                ["10.8.0.1/16"],
                private_key=site.server.private_key,
                listen_port=PORT,
                backend=self.backend,
                name=site.server.name,
            )
            wait_for(lambda: gateway.status().get("waiting_for") is None)
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))
            assert gateway.stop() == 0

    def test_a_peer_disabled_in_the_registry_loses_its_session(self, site: Site) -> None:
        client = site.client()
        with site.up():
            assert seamless(client.first_ping(INSIDE[0]))
            site.registry.replace(replace(client.registration, enabled=False))
            wait_for(lambda: site.server.peers() == {}, 1.0)
            site.registry.replace(client.registration)
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))

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

    # --- the feed, for people and programs ------------------------------------------------------------------

    def test_the_feed_command_follows_the_gateway(self, site: Site) -> None:
        client = site.client()
        with site.up(), site.listener("--json", "--count", "1") as listener:
            assert seamless(client.first_ping(INSIDE[0]))
            record = json.loads(listener.communicate(timeout=20)[0])
            assert (record["public_key"], record["decision"]) == (str(client.public_key), "installed")
            assert listener.returncode == 0

    def test_the_feed_command_is_readable_without_json(self, site: Site) -> None:
        client = site.client()
        with site.up(), site.listener("--count", "1") as listener:
            assert seamless(client.first_ping(INSIDE[0]))
            (line,) = listener.communicate(timeout=20)[0].splitlines()
            for word in (str(client.public_key), client.name, "10.9.0.2:", "proven", "installed", "µs"):
                assert word in line

    def test_without_a_gateway_the_feed_watches_and_changes_nothing(self, site: Site) -> None:
        client = site.client(registered=False)
        with site.listener("--json", "--count", "1") as listener:
            assert client.first_ping(INSIDE[0], timeout=0.5) is None
            record = json.loads(listener.communicate(timeout=20)[0])
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
            return await asyncio.wait_for(heard, 10)

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
        assert tcpdump.wait(10) == 0
        (line,) = run(*WGJIT, "decode", "--private-key", key, recording, "--json").splitlines()
        record = json.loads(line)
        assert (record["public_key"], record["proven"], record["refusal"]) == (str(client.public_key), True, None)
        assert record["destination"] == f"10.9.0.1:{PORT}"
