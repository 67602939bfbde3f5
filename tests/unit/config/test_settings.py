"""The configuration file: every mistake names its field and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wgjit.config import Config, config_path, load_config, read_private_key
from wgjit.errors import ConfigError
from wgjit.model import Delivery, PrivateKey


def write(folder: Path, text: str) -> Path:
    path = folder / "wg0.toml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            """
            [interface]
            private_key_file = "/etc/wgjit/wg0.key"
            listen_port = 4500
            addresses = ["10.8.0.1/16", "fd00:8::1/64"]
            routes = ["10.9.0.0/16"]
            [store]
            path = "/srv/peers.db"
            [gateway]
            name = "fra1"
            delivery = "hold"
            hold_deadline = 0.25
            """,
        )
    )
    assert config.interface.listen_port == 4500
    assert [str(address) for address in config.interface.addresses] == ["10.8.0.1/16", "fd00:8::1/64"]
    assert config.store_path("wg0") == Path("/srv/peers.db")
    assert (config.gateway.name, config.gateway.delivery) == ("fra1", Delivery.HOLD)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, ""))
    assert config == Config()
    assert config.store_path("wg7") == Path("/var/lib/wgjit/wg7.db")
    assert config.gateway.delivery == "auto"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[interface]\nlisten_port = 70000", "interface.listen_port"),
        ('[interface]\naddresses = ["10.8.0.300/16"]', "interface.addresses.0"),
        ('[gateway]\ndelivery = "carrier pigeon"', "gateway.delivery"),
        ("[gateway]\nhold_deadline = 0", "gateway.hold_deadline"),
        ("[gateway]\nhold_dedline = 1", "gateway.hold_dedline: no such setting"),
        ('[pool]\nipv4 = "10.8.0.1/16"', "pool.ipv4"),
        ('[pool]\nipv4 = "fd00::/64"', "pool.ipv4"),
        ('[pool]\nipv4 = "10.8.0.0/31"', "pool.ipv4: 10.8.0.0/31 has room for no peer; write a prefix of /30 or wider"),
        ('[pool]\nipv6 = "fd00::/127"', "pool.ipv6: fd00::/127 has room for no peer; write a prefix of /126 or wider"),
        ("[pool]\nquarantine = -1", "pool.quarantine"),
        ('[client]\nendpoint = "a b"', "client.endpoint: write a host and a port, such as"),
        ('[client]\nendpoint = "h:0"', "client.endpoint: write a host and a port"),
        ('[client]\nendpoint = "2001:db8::1"', "client.endpoint: write a host and a port"),
        ('[client]\nendpoint = "h\\nPostUp = reboot"', "client.endpoint"),
        ('[client]\npublic_key = "x"', "client.public_key: public key: not a WireGuard key"),
        ('[client]\ndns = ["a\\nb"]', "client.dns"),
        ("[client]\nallowed_ips = []", "client.allowed_ips"),
        ("[client]\nmtu = 1000", "client.mtu"),
        ("[interfacs]", "interfacs: no such setting; did you mean interfaces?"),
        ("[gateway", "not TOML"),
    ],
)
def test_a_mistake_names_its_field(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(field)) as caught:
        load_config(write(tmp_path, text))
    assert "wg0.toml" in str(caught.value)


@pytest.mark.parametrize("endpoint", ["vpn.example.org", "vpn.example.org:51820", "192.0.2.1:1", "[2001:db8::1]:65535"])
def test_endpoints(tmp_path: Path, endpoint: str) -> None:
    assert load_config(write(tmp_path, f'[client]\nendpoint = "{endpoint}"')).client.endpoint == endpoint


def test_an_interface_has_its_file_and_another_may_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.config.folders.CONFIG_FOLDER", tmp_path)
    assert config_path("wg0", None) is None
    path = write(tmp_path, "")
    assert config_path("wg0", None) == path
    assert config_path("wg1", None) is None
    assert config_path("wg1", path) == path


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml")


def test_a_key_file_is_read_and_never_repeated(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    path = tmp_path / "key"
    path.write_text(key.reveal_base64() + "\n")
    assert read_private_key(path) == key
    path.write_text("c2VjcmV0 not a key")
    with pytest.raises(ConfigError, match=r"private_key_file.*base64") as caught:
        read_private_key(path)
    assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_private_key(tmp_path / "absent")
