"""The client's configuration works that `wgjit peer add` writes: read by wg-quick, on real WireGuard."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gateway import WGJIT
from lab.netns import Lab, Namespace
from lab.wireguard import STDIN, Backend, WireGuard
from tests.contracts.gateway_site import INSIDE, PORT, Site, seamless, wait_for


class HandingOutContract:
    """Subclass with a `backend`."""

    backend: Backend

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Lab() as lab:
            site = Site(lab, self.backend)
            yield site
            site.registry.close()

    @pytest.fixture
    def config(self, site: Site) -> Path:
        key = site.lab.folder / "server.key"
        key.write_text(site.server.private_key.reveal_base64())
        path = site.lab.folder / "wg.toml"
        path.write_text(f"""
            [interface]
            private_key_file = "{key}"
            listen_port = {PORT}
            addresses = ["10.8.0.1/16", "fd08::1/64"]
            [pool]
            ipv4 = "10.8.0.0/16"
            ipv6 = "fd08::/64"
            [client]
            endpoint = "10.9.0.1"
            allowed_ips = ["10.8.0.0/16", "fd08::/64"]
            mtu = 1400
        """)
        return path

    def test_a_client_that_was_handed_out_connects_and_one_that_was_rotated_does_not(
        self, site: Site, config: Path
    ) -> None:
        first, second = site.lab.folder / "phone.conf", site.lab.folder / "phone2.conf"
        wgjit(site, config, "add", "phone", "--output", first)
        with site.up("auto", "--config", config) as gateway, gateway.feed() as feed:
            phone = self.bring_up(site.direct, first)
            assert seamless(site.direct.ping(INSIDE[0], 10.0))
            assert seamless(site.direct.ping(INSIDE[1], 10.0))
            [resident] = site.server.peers().values()
            assert [str(prefix) for prefix in resident.allowed_ips] == ["10.8.0.2/32", "fd08::2/128"]

            wgjit(site, config, "rotate", "10.8.0.2", "--output", second)
            wait_for(lambda: site.server.peers() == {})
            assert site.direct.ping(INSIDE[0], 0.5) is None
            phone.close()
            self.bring_up(site.direct, first)
            assert site.direct.ping(INSIDE[0], 1.0) is None
            refused = feed.next(public_key=str(resident.public_key), decision="refused")
            assert refused["refusal"] == "unknown"
            assert site.server.peers() == {}

            other = site.lab.namespace("other")
            site.lab.link(site.gateway, other, ["10.10.9.1/24"], ["10.10.9.2/24"])
            other.ip("route add 10.9.0.0/24 via 10.10.9.1")
            self.bring_up(other, second)
            assert seamless(other.ping(INSIDE[0], 10.0))
            [resident] = site.server.peers().values()
            assert [str(prefix) for prefix in resident.allowed_ips] == ["10.8.0.2/32", "fd08::2/128"]

    def bring_up(self, namespace: Namespace, file: Path) -> WireGuard:
        """What wg-quick would do with the file: its addresses, its MTU, and the rest to wg."""
        text = file.read_text()
        addresses, mtu, prefixes = (
            re.findall(rf"^{name} = (.*)$", text, re.MULTILINE)[0] for name in ("Address", "MTU", "AllowedIPs")
        )
        made = WireGuard(namespace, addresses.split(", "), mtu=int(mtu), backend=self.backend)
        stripped = subprocess.run(["wg-quick", "strip", file], capture_output=True, text=True, check=True).stdout
        namespace.run("wg", "setconf", made.name, STDIN, input=stripped)
        namespace.ip(*(f"route replace {prefix} dev {made.name}" for prefix in prefixes.split(", ")))
        return made


def wgjit(site: Site, config: Path, *arguments: object) -> str:
    """Run `wgjit peer ARGUMENTS` on the site's registry, as an operator would."""
    return subprocess.run(
        [*WGJIT, "peer", *map(str, arguments), "--store", str(site.path), "--config", str(config)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
