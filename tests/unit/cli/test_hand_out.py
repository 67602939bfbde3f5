"""`wgjit peer add` and `rotate` with key pairs made here: addresses, configurations, QR codes, and no key kept."""

import json
import re
import stat
import struct
from pathlib import Path

import pytest

from lab.registry import opened
from tests.contracts.store import key
from tests.unit.cli.conftest import K1, K2, K3, PSK, Run, bytes_of, is_untouched
from wgjit.management.wg_config import read_peers
from wgjit.model import PrivateKey, PublicKey

SERVER = PrivateKey.generate()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wg0.key").write_text(SERVER.reveal_base64() + "\n")
    path = tmp_path / "wg0.toml"
    path.write_text(f"""
        [interface]
        private_key_file = "{tmp_path}/wg0.key"
        listen_port = 4500
        addresses = ["10.8.0.1/29", "fd00:8::1/64"]
        [pool]
        ipv4 = "10.8.0.0/29"
        ipv6 = "fd00:8::/64"
        [client]
        endpoint = "vpn.example.org"
        dns = ["10.8.0.1", "corp.example"]
        allowed_ips = ["10.0.0.0/8", "fd00::/8"]
        mtu = 1380
        persistent_keepalive = 25
    """)
    monkeypatch.setenv("WGJIT_CONFIG", str(path))
    return path


def settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = (.*)$", text, re.MULTILINE))


def private_key(text: str) -> PrivateKey:
    return PrivateKey.parse(settings(text)["PrivateKey"])


def test_a_name_is_enough(run: Run, store: Path, config: Path) -> None:
    status, out, err = run("add", "alice")
    public = private_key(out).public()
    assert (status, err) == (0, f"added alice ({public}): 10.8.0.2/32, fd00:8::2/128\n")
    assert out == (
        f"# alice\n[Interface]\nPrivateKey = {settings(out)['PrivateKey']}\n"
        "Address = 10.8.0.2/32, fd00:8::2/128\nDNS = 10.8.0.1, corp.example\nMTU = 1380\n\n"
        f"[Peer]\nPublicKey = {SERVER.public()}\nEndpoint = vpn.example.org:4500\n"
        "AllowedIPs = 10.0.0.0/8, fd00::/8\nPersistentKeepalive = 25\n"
    )
    shown = json.loads(run("show", "alice", "--json")[1])
    assert (shown["public_key"], shown["allowed_ips"]) == (str(public), ["10.8.0.2/32", "fd00:8::2/128"])
    # Our own reader of such files takes the gateway in it for what it is.
    [(_, gateway)] = read_peers(out.splitlines(), names=False)
    assert gateway.public_key == SERVER.public()


def test_the_private_key_is_in_no_file_of_the_registry(run: Run, store: Path, config: Path) -> None:
    secret = private_key(run("add", "alice")[1])
    kept = bytes_of(store)
    assert b"alice" in kept
    for form in (secret.reveal(), secret.reveal_base64().encode(), secret.reveal().hex().encode()):
        assert form not in kept


def test_output_and_image_files_are_the_owners_alone(run: Run, store: Path, config: Path, tmp_path: Path) -> None:
    conf, png, svg = tmp_path / "a.conf", tmp_path / "a.png", tmp_path / "b.svg"
    status, out, err = run("add", "alice", "--output", conf, "--qr-file", png)
    assert (status, err) == (0, "")
    public = private_key(conf.read_text()).public()
    assert out == f"added alice ({public}): 10.8.0.2/32, fd00:8::2/128\n"
    assert run("add", "bob", "--qr-file", svg)[0] == 0
    assert [stat.S_IMODE(file.stat().st_mode) for file in (conf, png, svg)] == [0o600] * 3
    head = png.read_bytes()
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    assert width == height > 300
    assert b"<svg" in svg.read_bytes()


def test_a_file_is_never_overwritten_and_nothing_is_registered(
    run: Run, store: Path, config: Path, tmp_path: Path
) -> None:
    conf, png = tmp_path / "a.conf", tmp_path / "a.png"
    png.write_text("mine")
    status, out, err = run("add", "alice", "--output", conf, "--qr-file", png)
    assert (status, out, err) == (1, "", f"wgjit: --qr-file {png}: exists already; remove it or give another name\n")
    assert not conf.exists()
    assert png.read_text() == "mine"
    assert run("list")[1] == ""
    assert run("add", "alice", "--output", tmp_path / "none" / "a.conf")[2].endswith(
        "a.conf: No such file or directory\n"
    )
    assert run("add", "alice", "--qr-file", tmp_path / "a.jpg")[2].endswith("must end with .png or .svg\n")
    assert run("list")[1] == ""
    assert run("add", "bob", "--public-key", K1)[0] == 0
    assert run("add", "bob", "--output", conf)[0] == 1  # the name is taken
    assert not conf.exists()
    assert "10.8.0.2/32" in run("list")[1]  # no address was lost to what was refused


def test_the_drawing_is_a_code_of_the_configuration(run: Run, store: Path, config: Path) -> None:
    status, out, _ = run("add", "alice", "--qr")
    assert status == 0
    sentence, *lines = out.splitlines()
    assert sentence.startswith("added alice (")
    assert "PrivateKey" not in out
    widths = {len(line) for line in lines}
    assert len(widths) == 1
    assert set("".join(lines)) == set("█▀▄ ")
    modules = widths.pop() - 8  # a quiet zone of 4 on each side
    assert modules % 4 == 1  # 21, 25, 29...: a code's sizes
    assert len(lines) == (modules + 8 + 1) // 2


def test_a_key_of_the_clients_own(run: Run, store: Path, config: Path, tmp_path: Path) -> None:
    assert run("add", "alice", "--public-key", K1) == (0, f"added alice ({K1})\n", "")
    conf = tmp_path / "bob.conf"
    assert run("add", "bob", "--public-key", K2, "--output", conf) == (0, f"added bob ({K2})\n", "")
    assert f"# PrivateKey = the one that belongs to {K2}\nAddress = 10.8.0.3/32" in conf.read_text()
    status, _, err = run("add", "carol", "--public-key", K3, "--qr")
    assert (status, err) == (1, "wgjit: --qr, --qr-file: only with a key pair made here; leave --public-key out\n")


def test_given_addresses_come_before_the_pools(run: Run, store: Path, config: Path) -> None:
    out = run("add", "alice", "--allowed-ips", "192.0.2.7,192.0.2.128/25")[1]
    assert settings(out)["Address"] == "192.0.2.7/32"
    status, _, err = run("add", "site", "--allowed-ips", "198.51.100.0/24")
    assert status == 1
    assert "allowed IPs: a client's configuration needs an address in it" in err
    assert len(run("list")[1].splitlines()) == 1


def test_a_preshared_key_is_in_the_configuration_and_nowhere_else(
    run: Run, store: Path, config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "psk"
    file.write_text(PSK.reveal_base64())
    conf = tmp_path / "a.conf"
    status, out, err = run("add", "alice", "--preshared-key-file", file, "--output", conf)
    assert status == 0
    assert settings(conf.read_text())["PresharedKey"] == PSK.reveal_base64()
    assert PSK.reveal_base64() not in out + err


def test_json_has_the_configuration_unless_it_goes_elsewhere(
    run: Run, store: Path, config: Path, tmp_path: Path
) -> None:
    status, out, err = run("add", "alice", "--label", "team=infra", "--expires", "30d", "--json")
    assert (status, err) == (0, "")
    added = json.loads(out)
    assert str(private_key(added.pop("config")).public()) == added["public_key"]
    assert added["labels"] == {"team": "infra"}
    assert added["expires_at"].startswith("20")
    shown = json.loads(run("show", "alice", "--json")[1])
    assert shown == added | {"claim": None, "holding": None}
    assert "config" not in json.loads(run("add", "bob", "--output", tmp_path / "b.conf", "--json")[1])
    assert "config" not in json.loads(run("add", "carol", "--public-key", K3, "--json")[1])


def test_a_full_pool_names_the_setting(run: Run, store: Path, config: Path) -> None:
    for number in range(5):
        assert run("add", f"p{number}", "--public-key", key(number))[0] == 0
    status, out, err = run("add", "one-too-many")
    assert (status, out) == (1, "")
    assert err == "wgjit: pool.ipv4 10.8.0.0/29: no address is free; make it wider or remove peers\n"
    assert run("remove", "p3")[0] == 0
    assert "the quarantine of the next freed one ends at" in run("add", "one-too-many")[2]
    config.write_text(config.read_text().replace("[pool]", "[pool]\nquarantine = 0"))
    assert "10.8.0.5/32" in run("add", "one-too-many")[2]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", 'set client.endpoint (such as "vpn.example.org") and interface.private_key_file or client.public_key'),
        ('[client]\nendpoint = "h"', "set interface.private_key_file or client.public_key"),
        (f'[client]\npublic_key = "{K1}"', "set client.endpoint"),
        ('[client]\nendpoint = "h"\n[interface]\nprivate_key_file = "/nope"', "private_key_file: /nope: No such file"),
    ],
)
def test_what_is_missing_in_the_configuration_is_said(
    run: Run, store: Path, tmp_path: Path, text: str, missing: str
) -> None:
    file = tmp_path / "some.toml"
    file.write_text(text)
    status, out, err = run("add", "alice", "--allowed-ips", "10.8.0.2", "--config", file)
    assert (status, out) == (1, "")
    assert missing in err
    assert is_untouched(store)
    if "nope" not in text:
        assert str(file) in err
    status, _, err = run("add", "alice", "--public-key", K1, "--config", file)
    assert (status, err) == (
        1,
        f"wgjit: no address: give --allowed-ips, or set pool.ipv4 or pool.ipv6 in {file}\n",
    )


def test_the_gateways_public_key_and_a_full_endpoint_are_enough(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(f'[client]\nendpoint = "[2001:db8::1]:99"\npublic_key = "{K1}"')
    written = settings(run("add", "alice", "--allowed-ips", "10.8.0.2", "--config", file)[1])
    assert written.pop("PrivateKey")
    assert written == {
        "Address": "10.8.0.2/32",
        "PublicKey": K1,
        "Endpoint": "[2001:db8::1]:99",
        "AllowedIPs": "0.0.0.0/0, ::/0",
    }


def test_the_store_of_the_configuration(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WGJIT_STORE", raising=False)
    config.write_text(config.read_text() + f'\n[store]\npath = "{tmp_path}/other.db"\n')
    assert run("add", "alice", "--public-key", K1)[0] == 0
    assert (tmp_path / "other.db").exists()
    assert run("show", "alice")[0] == 0
    assert run("list", "--store", tmp_path / "none.db")[0] == 1


def test_a_code_that_would_be_too_long_says_so(run: Run, store: Path, config: Path) -> None:
    many = ", ".join(f'"10.{n // 256}.{n % 256}.0/24"' for n in range(300))
    config.write_text(config.read_text().replace('["10.0.0.0/8", "fd00::/8"]', f"[{many}]"))
    status, _, err = run("add", "alice", "--qr")
    assert status == 1
    assert "too long for a QR code" in err
    assert run("list")[1] == ""


# --- rotate -------------------------------------------------------------------------------------------------


def test_rotate_gives_a_new_configuration(run: Run, store: Path, config: Path, tmp_path: Path) -> None:
    first = run("add", "alice", "--label", "team=infra")[1]
    old = private_key(first).public()
    status, out, err = run("rotate", "10.8.0.2")
    new = private_key(out).public()
    assert (status, err) == (0, f"rotated alice ({new}): 10.8.0.2/32, fd00:8::2/128\n")
    assert new != old
    assert {**settings(first), "PrivateKey": ""} == {**settings(out), "PrivateKey": ""}
    shown = json.loads(run("show", "alice", "--json")[1])
    assert (shown["public_key"], shown["labels"]) == (str(new), {"team": "infra"})
    assert run("show", old)[0] == 1
    with opened(store, read_only=True) as registry:
        assert [change.public_key for change in registry.changes(0)] == [old]
    assert run("rotate", "alice", "--public-key", K3) == (0, f"rotated alice ({K3})\n", "")
    assert json.loads(run("rotate", "alice", "--json")[1])["config"].startswith("# alice\n")


def test_a_rotation_that_cannot_be_written_keeps_the_key(run: Run, store: Path, config: Path, tmp_path: Path) -> None:
    run("add", "alice", "--public-key", K1)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert run("rotate", "alice", "--output", taken)[0] == 1
    assert run("rotate", "nobody")[2] == "wgjit: no peer 'nobody' is registered; `wgjit peer list` shows all\n"
    assert PublicKey.parse(json.loads(run("show", "alice", "--json")[1])["public_key"]) == key(1)


def test_another_interface_has_another_configuration(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WGJIT_CONFIG")
    monkeypatch.delenv("WGJIT_STORE", raising=False)
    monkeypatch.setattr("wgjit.config.folders.CONFIG_FOLDER", tmp_path)
    (tmp_path / "wg7.toml").write_text(f'[store]\npath = "{tmp_path}/seven.db"\n[pool]\nipv4 = "10.77.0.0/16"\n')
    assert run("add", "alice", "--interface", "wg7", "--public-key", K1)[0] == 0
    assert "10.77.0.1/32" in run("show", "alice", "--interface", "wg7")[1]
    assert (tmp_path / "seven.db").exists()
