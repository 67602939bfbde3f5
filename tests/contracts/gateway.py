"""What a running gateway promises, on real WireGuard: the same tests over kernel WireGuard and wireguard-go.

Each client is a real WireGuard client. The gateway is the real `wgjit up` in its own process. `gateway_site` shows the
topology.
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.gateway import WGJIT, Gateway
from lab.netns import Lab, run
from lab.wireguard import STDIN, Backend, Client, WireGuard
from tests.contracts.gateway_site import INSIDE, PORT, SEAMLESS, Site, seamless, sent_packets, wait_for
from tests.forge import forge_initiation
from wgjit.model import Endpoint, PresharedKey, PrivateKey, Tai64n
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
        if delivery == "flip":
            site.keep_flips_from_crossing()
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
            seconds = client.first_ping(INSIDE[0], timeout=60)
            assert seconds is not None
            assert seconds > SEAMLESS

    def test_auto_takes_the_best_that_works_here(self, site: Site) -> None:
        client = site.client()
        with site.up("auto") as gateway:
            assert gateway.about["delivery"] == self.deliveries[0]
            assert seamless(client.first_ping(INSIDE[0]))

    @pytest.mark.parametrize("lost", [1, 4], ids=["the initiation", "the client's confirmation"])
    def test_a_replay_of_which_no_session_came_is_mended(self, site: Site, lost: int) -> None:
        """Of two answers the client takes one and WireGuard the other: to the gateway it looks as if nothing had come.

        Neither does anything come here, ever, and what comes up comes from this side: no time is in question.
        """
        client = site.client()
        drop = f"udp dport {PORT} @th,64,8 {lost} drop"
        site.gateway.run(
            "nft",
            "-f",
            "-",
            input=f"table inet lost {{ chain input {{ type filter hook input priority 0; {drop}; }}; }}",
        )
        with site.up("replay") as gateway:
            client.ping(INSIDE[0], timeout=0.1)  # the knock; it is the gateway that sees its session
            wait_for(lambda: gateway.status()["flips"] == {"repeated": 1, "completed": 1})
            assert site.server.peer(client.public_key).last_handshake > 0
            assert gateway.status()["decisions"]["installed"] == 1
            site.gateway.run("nft", "delete", "table", "inet", "lost")
            assert client.ping(INSIDE[0]) is not None
            wait_for(lambda: site.server.peer(client.public_key).keepalive == 0)

    @pytest.mark.parametrize("delivery", ["hold", "replay"])
    def test_a_preshared_key(self, site: Site, delivery: str) -> None:
        client = site.client(psk=PresharedKey.generate())
        with site.up(delivery):
            assert seamless(client.first_ping(INSIDE[0]))

    @pytest.mark.parametrize("delivery", ["hold", "replay", "flip"])
    def test_a_client_behind_nat(self, site: Site, delivery: str) -> None:
        client = site.client(site.natted(), f"10.7.0.1:{PORT}")
        if delivery == "flip":
            site.keep_flips_from_crossing()
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

    def test_sessions_outlive_sigterm_and_a_restart_takes_them_over(self, site: Site) -> None:
        client, late = site.client(), site.client()
        gateway = site.up()
        assert seamless(client.first_ping(INSIDE[0]))
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            gateway.send(number)  # they change nothing
            assert gateway.status()["residents"] == 1
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
            before = site.gateway.call(sent_packets)
            site.send([forge_initiation(site.server.public_key, client.public_key, Tai64n.from_unix(time.time()))])
            record = feed.next()
            assert (record["refusal"], record["proven"], record["public_key"]) == (
                "forged",
                False,
                str(client.public_key),
            )
            assert site.server.peers() == {}
            assert site.gateway.call(sent_packets) == before
            assert seamless(client.first_ping(INSIDE[0])), "the forger must not stand in the true client's way"
            assert site.gateway.call(sent_packets) > before, "the count must see what WireGuard sends"

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
        noise = [chance.randbytes(chance.randrange(1500)) for _ in range(4000)]
        odd = [b"\x09" + chance.randbytes(147) for _ in range(1000)]
        cut = [good[: chance.randrange(148)] for _ in range(4000)]
        wrong = [good[:110] + chance.randbytes(38) for _ in range(1000)]
        sessions = {b"\x02\0\0\0", b"\x03\0\0\0", b"\x04\0\0\0"}
        garbage = [packet for packet in noise + odd + cut + wrong if packet[:4] not in sessions]
        chance.shuffle(garbage)  # of one loud source, what is over a limit passes unseen: some of each kind is seen
        with site.up() as gateway, gateway.feed() as feed:
            for start in range(0, len(garbage), 500):
                site.send(garbage[start : start + 500])
                want = min(start + 500, len(garbage))

                def counted(want: int = want) -> bool:
                    status = gateway.status()
                    return sum(status["refusals"].values()) + status["capture_dropped"] >= want

                wait_for(counted)
            status = gateway.status()
            refusals = status["refusals"]
            assert set(refusals) >= {Refusal.BAD_TYPE, Refusal.BAD_LENGTH, Refusal.BAD_MAC1}
            assert refusals[Refusal.BAD_MAC1] <= 1000 <= refusals[Refusal.BAD_MAC1] + status["capture_dropped"]
            assert site.server.peers() == {}
            assert seamless(client.first_ping(INSIDE[0]))
            assert feed.next(public_key=str(client.public_key))["decision"] == "installed"

    def test_twenty_clients_at_once(self, site: Site) -> None:
        clients = [site.client(site.direct) for _ in range(20 if self.backend == "kernel" else 8)]
        sockets = []
        with site.up() as gateway:
            for client in clients:
                udp = site.direct.socket()
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, client.name.encode())
                udp.sendto(b"knock", (INSIDE[0], 9))
                sockets.append(udp)
            keys = {client.public_key for client in clients}
            wait_for(lambda: {k for k, p in site.server.peers().items() if p.last_handshake} == keys)
            assert gateway.status()["decisions"] == {"installed": len(clients)}, "somebody had to try again"
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
            wait_for(lambda: site.server.peers() == {})
            site.registry.replace(client.registration)
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))
