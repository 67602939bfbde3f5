"""Changes that another process writes into the registry take effect on the interface.

On a machine that is not too busy, this takes less than a second. The gateway reads the change log every
`RegistryWatch.INTERVAL` and follows a change at once (tests/unit/daemon/test_registry_watch.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lab.gateway import WGJIT
from lab.netns import Lab, run
from lab.registry import LabRegistry
from lab.wireguard import STDIN, Backend
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for
from tests.contracts.gateway_witness import steady
from wgjit.model import PresharedKey, Tai64n
from wgjit.wire.messages import RESPONSE
from wgjit.wire.noise import Initiator, SessionKeys

OUT_AGAIN = 2.0
"""Seconds from its knock until a revoked peer that was put back is out."""


class RevocationContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, backend)
            yield site
            site.registry.close()

    def test_who_may_not_stay_loses_the_session_at_once(self, site: Site) -> None:
        """Removed, disabled, expired. A bystander notices nothing."""
        bystander, removed, disabled, expired = (site.client() for _ in range(4))
        leaving = (removed, disabled, expired)
        with site.up():
            for client in (bystander, *leaving):
                assert seamless(client.first_ping(INSIDE[0]))
            with steady(bystander):
                site.registry.remove(removed.public_key)
                wait_for(lambda: removed.public_key not in site.server.peers())
                site.registry.replace(replace(disabled.registration, enabled=False))
                wait_for(lambda: disabled.public_key not in site.server.peers())
                end = int(time.time()) + 2
                site.registry.replace(replace(expired.registration, expires_at=end))
                wait_for(lambda: expired.public_key not in site.server.peers())
                assert time.time() >= end
                for client in leaving:
                    assert client.ping(INSIDE[0], timeout=0.3) is None
            assert set(site.server.peers()) == {bystander.public_key}

    @pytest.mark.parametrize("verb", ["remove", "disable"])
    def test_who_was_revoked_and_is_put_back_by_another_program_is_out_after_its_knock(
        self, site: Site, verb: str
    ) -> None:
        """Each time that an old file is loaded again; a bystander notices nothing, and the log tells it once."""
        bystander, client = site.client(), site.client()
        allowed = [str(prefix) for prefix in client.registration.allowed_ips]
        with site.up() as gateway:
            for one in (bystander, client):
                assert seamless(one.first_ping(INSIDE[0]))
            if verb == "remove":
                site.registry.remove(client.public_key)
            else:
                site.registry.replace(replace(client.registration, enabled=False))
            wait_for(lambda: client.public_key not in site.server.peers())
            with steady(bystander):
                for times in (1, 2):
                    client.forget()
                    # The interface is ahead of the gateway, which looks once more before it counts the peer as gone.
                    wait_for(lambda: gateway.status()["residents"] == 1)
                    site.server.add_peer(client.public_key, allowed)
                    knocked = time.monotonic()
                    client.first_ping(INSIDE[0], timeout=0.2)
                    wait_for(
                        lambda: client.public_key not in site.server.peers(), knocked + OUT_AGAIN - time.monotonic()
                    )
                    wait_for(lambda times=times: gateway.status()["put_back"] == times)  # type: ignore[misc]
                    assert client.ping(INSIDE[0], timeout=0.3) is None
            assert set(site.server.peers()) == {bystander.public_key}
            told = [line for line in gateway.log.read_text().splitlines() if "put a revoked peer back" in line]
            assert len(told) == 1
            assert str(client.public_key) in told[0]

    def test_a_peer_that_was_removed_and_put_back_while_no_gateway_ran_is_out_at_the_start(self, site: Site) -> None:
        client, foreign = site.client(), site.client(registered=False)
        site.registry.remove(client.public_key)
        for one in (client, foreign):
            site.server.add_peer(one.public_key, [str(prefix) for prefix in one.registration.allowed_ips])
        with site.up():
            wait_for(lambda: set(site.server.peers()) == {foreign.public_key})

    def test_another_registry_that_is_renamed_over_the_file_counts_at_once(self, site: Site) -> None:
        """With a longer log, and no claims: who is in both keeps the session, who is in the old one alone loses it."""
        both, old = site.client(), site.client()
        other = site.lab.folder / "other.db"
        with closing(LabRegistry(other)) as registry:
            registry.add([both.registration])
            for number in range(50):
                registry.replace(replace(both.registration, keepalive=number % 2))
            registry.replace(both.registration)
        with site.up():
            for client in (both, old):
                assert seamless(client.first_ping(INSIDE[0]))
            wait_for(lambda: (found := site.registry.lookup(both.public_key)) is not None and found.claim is not None)
            before = site.server.peer(both.public_key)
            site.registry.close()
            with steady(both):
                for companion in ("-wal", "-shm"):
                    Path(f"{site.path}{companion}").unlink(missing_ok=True)
                other.rename(site.path)
                wait_for(lambda: set(site.server.peers()) == {both.public_key})
                site.registry = LabRegistry(site.path)
                wait_for(
                    lambda: (found := site.registry.lookup(both.public_key)) is not None and found.claim is not None
                )
            after = site.server.peer(both.public_key)
            assert (after.last_handshake, after.endpoint) == (before.last_handshake, before.endpoint)
            assert old.ping(INSIDE[0], timeout=0.3) is None
            old.forget()
            assert old.first_ping(INSIDE[0], timeout=0.3) is None
            both.forget()
            assert seamless(both.first_ping(INSIDE[0]))

    def test_a_change_that_keeps_the_key_keeps_the_session(self, site: Site) -> None:
        moved, rekeyed = site.client(), site.client()
        with site.up():
            for client in (moved, rekeyed):
                assert seamless(client.first_ping(INSIDE[0]))
            before = site.server.peers()
            with steady(moved), steady(rekeyed):
                narrow = replace(moved.registration, allowed_ips=moved.registration.allowed_ips[:1])
                site.registry.replace(narrow)
                wait_for(lambda: site.server.peer(moved.public_key).allowed_ips == narrow.allowed_ips)
                secret = PresharedKey.generate()
                site.registry.replace(replace(rekeyed.registration, preshared_key=secret))
                wait_for(lambda: site.server.peer(rekeyed.public_key).preshared_key == secret)
                assert seamless(moved.ping(INSIDE[0]))
                assert seamless(rekeyed.ping(INSIDE[0]))
                assert moved.ping(INSIDE[1], timeout=0.3) is None, "an address that was taken away still works"
            after = site.server.peers()
            for client in (moved, rekeyed):
                assert after[client.public_key].last_handshake == before[client.public_key].last_handshake
                assert after[client.public_key].rx_bytes > before[client.public_key].rx_bytes, "installed anew"
            # The next handshake needs the new preshared key.
            rekeyed.forget()
            assert rekeyed.first_ping(INSIDE[0], timeout=0.5) is None
            rekeyed.forget()
            rekeyed.namespace.run(
                "wg", "set", rekeyed.name, "peer", str(rekeyed.server), "preshared-key", STDIN,
                input=secret.reveal_base64(),
            )  # fmt: skip
            assert seamless(rekeyed.first_ping(INSIDE[0]))

    def test_a_client_whose_clock_was_set_back_gets_in_by_claim_reset(self, site: Site) -> None:
        """Also past the kernel's own memory of the greatest timestamp, which lasts as long as the peer is resident."""
        client = site.client()
        ahead = Initiator(client.private_key, site.server.public_key)
        with site.up() as gateway, gateway.feed() as feed, site.direct.socket() as udp:
            # Its clock was half an hour fast, within what is allowed; it connected, and then the clock was put right.
            udp.settimeout(60)
            udp.sendto(ahead.initiate(1, Tai64n.from_unix(time.time() + 1800)), ("10.9.0.1", PORT))
            answer = udp.recv(2048)
            assert answer[0] == RESPONSE
            assert isinstance(ahead.consume_response(answer), SessionKeys)
            assert feed.next()["decision"] == "installed"
            assert client.first_ping(INSIDE[0], timeout=0.5) is None
            assert feed.next()["refusal"] == "stale"
            told = run(*WGJIT, "claim", "reset", str(client.public_key), "--store", site.path)
            assert told.startswith("forgot the claim of ")
            wait_for(lambda: site.server.peers() == {})
            client.forget()
            assert seamless(client.first_ping(INSIDE[0]))
