"""What a gateway tells of its clients, and of trouble that looks like health: in journal, status and doctor."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.gateway import WGJIT, Gateway
from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.gateway_site import INSIDE, LONG, Site, seamless, wait_for
from wgjit.model import PresharedKey


def lines(gateway: Gateway, event: str) -> list[dict[str, str]]:
    """The lines of the gateway's log with this text."""
    found = []
    for line in gateway.log.read_text().splitlines():
        if line.startswith("timestamp="):
            fields = dict(word.partition("=")[::2] for word in shlex.split(line))
            if fields["event"].startswith(event):
                found.append(fields)
    return found


def told(gateway: Gateway, event: str) -> dict[str, str]:
    """The only line with this text, once it is there."""
    wait_for(lambda: bool(lines(gateway, event)))
    (line,) = lines(gateway, event)
    return line


class TellingContract:
    """Subclasses live where a `backend` fixture says which WireGuard is meant."""

    @pytest.fixture
    def site(self, backend: Backend) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, backend)
            yield site
            site.registry.close()

    def test_a_persons_call_is_answered_from_the_journal(self, site: Site) -> None:
        client = site.client(registered=False)
        alice = replace(client.registration, name="alice")
        site.registry.add([alice])
        with site.up() as gateway:
            assert seamless(client.first_ping(INSIDE[0]))
            line = told(gateway, "connected")
            assert (line["level"], line["name"], line["peer"]) == ("info", "alice", str(client.public_key)[:8])
            assert line["endpoint"].startswith("10.9.0.2:")
            site.registry.replace(replace(alice, enabled=False))
            assert told(gateway, "revoked")["why"] == "it was disabled"
            wait_for(lambda: site.server.peers() == {})
            client.forget()
            assert client.first_ping(INSIDE[0], timeout=0.5) is None
            line = told(gateway, "refused")
            assert (line["name"], line["refusal"]) == ("alice", "disabled")
            assert "wgjit peer enable" in line["do"]
            assert lines(gateway, "left") == []

    def test_a_preshared_key_of_one_side_alone_is_told_of_and_its_mending_too(self, site: Site) -> None:
        psk = PresharedKey(b"\x05" * 32)
        client = site.client(psk=psk, registered=False)
        alice = replace(client.registration, name="alice", preshared_key=None)
        site.registry.add([alice])
        with site.up() as gateway:
            assert client.first_ping(INSIDE[0], timeout=1.0) is None
            line = told(gateway, "never completed")
            assert (line["name"], int(line["knocks"]) >= 3) == ("alice", True)
            assert line["likely"].startswith("the client has a preshared key, and the registry has none for it")
            assert told(gateway, "peers knock again and again")["count"] == "1"
            assert "alice" in gateway.status()["troubled_by"]["never_completed"]
            assert "'alice'" in self.doctor(site)["never_completed"]
            site.registry.replace(replace(alice, preshared_key=psk))
            assert client.first_ping(INSIDE[0], timeout=LONG) is not None
            assert told(gateway, "trouble is over")["trouble"] == "never_completed"
            assert "troubled_by" not in gateway.status()

    def test_answers_that_do_not_arrive_are_told_of(self, site: Site) -> None:
        """The rules drop WireGuard's responses on their way out; the client's initiations arrive as ever."""
        chain = "chain output { type filter hook output priority 0; udp sport 51820 @th,64,32 0x02000000 drop; }"
        site.gateway.run("nft", "-f", "-", input=f"table inet lost {{ {chain}; }}")
        client = site.client()
        with site.up() as gateway:
            assert client.first_ping(INSIDE[0], timeout=1.0) is None
            assert "answers do not leave this machine" in told(gateway, "never completed")["likely"]
            assert gateway.status()["troubles"] == {"never_completed": 1}

    def test_residents_that_another_program_takes_out_are_told_of(self, site: Site) -> None:
        clients = [site.client() for _ in range(3)]
        with site.up() as gateway:
            for client in clients:
                assert seamless(client.first_ping(INSIDE[0]))
            name = site.server.name
            emptied = site.gateway.run("wg", "showconf", name).split("[Peer]")[0]
            site.gateway.run("wg", "syncconf", name, "/dev/stdin", input=emptied)
            line = told(gateway, "another program took residents out")
            assert (line["level"], line["count"]) == ("warning", "3")
            assert gateway.status()["troubles"] == {"vanished": 3}
            assert "3 peers" in self.doctor(site)["vanished"]

    def test_a_firewall_that_is_reloaded_is_told_of_and_has_its_rules_back(self, site: Site) -> None:
        client = site.client()
        with site.up("hold") as gateway:
            site.gateway.run("nft", "flush", "ruleset")
            for program in ("iptables-legacy", "ip6tables-legacy"):
                site.gateway.run(program, "-t", "mangle", "-F")
            assert told(gateway, "another program took the firewall's rules away")["count"] == "1"
            assert seamless(client.first_ping(INSIDE[0])), "held again"
            assert gateway.status()["deliveries"] == {"hold": 1}
            assert gateway.status()["troubles"] == {"rules_gone": 1}

    def test_a_source_over_its_limit_is_named(self, site: Site) -> None:
        client = site.client()
        with site.up_with(source_rate=0.001) as gateway:
            assert seamless(client.first_ping(INSIDE[0]) or 0.0)
            for _ in range(4):
                client.forget()
                client.first_ping(INSIDE[0], timeout=0.5)
            line = told(gateway, "a source sends more initiations than gateway.source_rate allows")
            assert line["sources"].startswith("10.9.0.2 (")
            assert gateway.status()["troubles"]["over_source_rate"] >= 1

    @staticmethod
    def doctor(site: Site) -> dict[str, str]:
        """What `wgjit doctor` says of the running gateway's troubles."""
        answer = site.gateway.run(*WGJIT, "doctor", site.server.name, "--json")
        troubles: dict[str, str] = json.loads(answer)["troubled_by"]
        return troubles
