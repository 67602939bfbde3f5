"""`wgjit config check` and `show`, and settings from the environment."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wgjit.cli.shared.application import command_line
from wgjit.config import load
from wgjit.config.environment import VARIABLES
from wgjit.config.layers import SECTIONS
from wgjit.config.reference import meanings
from wgjit.errors import ConfigError
from wgjit.model import PrivateKey


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("wgjit.config.folders.CONFIG_FOLDER", tmp_path)
    for name in ("WGJIT_CONFIG", "WGJIT_STORE", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(command_line("config"), ["config", *words])
    if isinstance(result.exception, ConfigError):
        return 1, str(result.exception)
    return result.exit_code, result.output


def key_file(folder: Path, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(PrivateKey.generate().reveal_base64() + "\n")
    path.chmod(mode)
    return path


def test_a_good_file_is_ok_and_says_for_whom(folder: Path) -> None:
    (folder / "wg0.toml").write_text("[gateway]\nidle_timeout = 600\n")
    (folder / "wgjit.toml").write_text("[interfaces.wg1]\n[interfaces.wg2.gateway]\nidle_timeout = 700\n")
    status, output = run("check")
    assert status == 0, output
    assert output.splitlines() == [f"{folder}/wg0.toml: ok: wg0", f"{folder}/wgjit.toml: ok: wg1, wg2"]


def test_all_mistakes_are_told_with_line_and_field(folder: Path) -> None:
    path = folder / "wg0.toml"
    path.write_text(
        "[gateway]\nidle_timeout = 5\nidle_timout = 600\n\n"
        '[interface]\naddresses = [\n  "10.8.0.1/16",\n  "nonsense",\n]\n'
        'pool.ipv4 = "10.9.0.0/16"\n'
    )
    status, output = run("check", "wg0")
    assert status == 1
    lines = output.splitlines()
    assert any(line.startswith(f"{path}:2: gateway.idle_timeout: ") for line in lines), output
    assert f"{path}:3: gateway.idle_timout: no such setting; did you mean idle_timeout?" in lines
    assert any(line.startswith(f"{path}:8: interface.addresses.1: ") for line in lines), output
    assert any(line.startswith(f"{path}:10: interface.pool: no such setting") for line in lines), output


def test_a_syntax_error_has_its_line(folder: Path) -> None:
    path = folder / "wg0.toml"
    path.write_text("[gateway]\nidle_timeout = 600\nname = \n")
    status, output = run("check", str(path))
    assert status == 1
    assert output.startswith(f"{path}:3: not TOML: ")


@pytest.mark.parametrize(
    ("text", "line", "field", "says"),
    [
        ('[interface]\nprivate_key_file = "FOLDER/none"', 2, "interface.private_key_file", "No such file"),
        ('[store]\n\npath = "FOLDER/none/x.db"', 3, "store.path", "no such folder"),
        ('[store]\nurl = "https://r.example.org"\ntoken_file = "FOLDER/none"', 3, "store.token_file", "No such file"),
        ('[store]\nurl = "https://r.example.org"\nca_file = "FOLDER/wg0.toml"', 3, "store.ca_file", "no certificates"),
        (
            '[api]\nlisten = "[::]:8443"\ntls_certificate_file = "FOLDER/wg0.toml"\n'
            'tls_private_key_file = "FOLDER/wg0.toml"',
            3,
            "api.tls_certificate_file",
            "PEM files",
        ),
    ],
)
def test_what_a_start_would_stumble_over(folder: Path, text: str, line: int, field: str, says: str) -> None:
    path = folder / "wg0.toml"
    path.write_text(text.replace("FOLDER", str(folder)))
    status, output = run("check")
    assert status == 1
    assert output.startswith(f"{path}:{line}: wg0: {field}: ")
    assert says in output


def test_a_broken_key_is_told_and_not_shown(folder: Path) -> None:
    (folder / "key").write_text("c2VjcmV0IHRoYXQgaXMgdG9vIHNob3J0")
    (folder / "wg0.toml").write_text(f'[interface]\nprivate_key_file = "{folder}/key"\n')
    status, output = run("check")
    assert status == 1
    assert "wg0.toml:2: wg0: interface.private_key_file: " in output
    assert "c2VjcmV0" not in output


def test_warnings_fail_only_if_wanted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_file(folder, 0o644)
    (folder / "wg0.toml").write_text(
        f'[interface]\nprivate_key_file = "{key}"\naddresses = ["10.8.0.1/16"]\n[pool]\nipv4 = "10.9.0.0/16"\n'
    )
    monkeypatch.setenv("WGJIT_GATEWAY_IDLE_TIMOUT", "600")
    status, output = run("check")
    assert status == 0
    assert "others may read it" in output
    assert "wg0.toml:5: wg0: pool.ipv4: 10.9.0.0/16 lies in no prefix" in output
    assert "WGJIT_GATEWAY_IDLE_TIMOUT: no such variable; did you mean WGJIT_GATEWAY_IDLE_TIMEOUT? (warning)" in output
    assert output.splitlines()[-1] == f"{folder}/wg0.toml: ok: wg0"
    assert run("check", "--strict")[0] == 1
    told = json.loads(run("check", "--json")[1])
    assert told["ok"]
    assert [finding["kind"] for finding in told["findings"]] == ["warning"] * 3
    assert {finding["line"] for finding in told["findings"]} == {2, 5, None}


def test_two_interfaces_cannot_share_a_port_or_a_key(folder: Path) -> None:
    key = key_file(folder)
    (folder / "wgjit.toml").write_text(
        "".join(f'[interfaces.wg{number}.interface]\nprivate_key_file = "{key}"\n' for number in (0, 1))
    )
    status, output = run("check")
    assert status == 1
    assert "wgjit.toml:4" in output
    for name in ("listen_port", "private_key_file"):
        assert any(f"interface.{name}" in line and "wg0 and of wg1" in line for line in output.splitlines()), output


def test_nothing_to_check_is_said(folder: Path) -> None:
    assert run("check") == (1, f"{folder}: no *.toml in it; name a file")
    (folder / "wgjit.toml").write_text("[gateway]\n")
    status, output = run("check")
    assert status == 1
    assert "lists no interface" in output


def test_the_environment_comes_before_the_file_and_the_command_line_before_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "wg0.toml").write_text('[gateway]\nidle_timeout = 600\nname = "file"\n[store]\npath = "/srv/a.db"\n')
    monkeypatch.setenv("WGJIT_GATEWAY_IDLE_TIMEOUT", "700")
    monkeypatch.setenv("WGJIT_INTERFACE_ADDRESSES", "10.8.0.1/16, fd00::1/64")
    monkeypatch.setenv("WGJIT_GATEWAY_EXCLUSIVE", "true")
    monkeypatch.setenv("WGJIT_GATEWAY_NAME", "")
    loaded = load("wg0")
    assert loaded.config.gateway.idle_timeout == 700
    assert loaded.config.gateway.exclusive
    assert loaded.config.gateway.name == "file"
    assert [str(address) for address in loaded.config.interface.addresses] == ["10.8.0.1/16", "fd00::1/64"]
    assert str(loaded.origin(("gateway", "idle_timeout"))) == "WGJIT_GATEWAY_IDLE_TIMEOUT"
    assert str(loaded.origin(("gateway", "name"))) == f"{folder}/wg0.toml:3"
    monkeypatch.setenv("WGJIT_STORE", "https://registry.example.org/v1")
    loaded = load("wg0")
    assert loaded.config.store.url == "https://registry.example.org/v1"
    assert loaded.config.store_path("wg0").name == "wg0.cache.db"


def test_a_mistake_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WGJIT_GATEWAY_IDLE_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match=r"^WGJIT_GATEWAY_IDLE_TIMEOUT: "):
        load("wg0")


def test_every_setting_has_a_variable_and_a_meaning() -> None:
    every = {(section, name) for section, model in SECTIONS.items() for name in model.model_fields}
    assert set(VARIABLES.values()) == every
    assert set(meanings()) == every


def test_show_says_where_each_value_comes_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "wg0.toml").write_text("[gateway]\nidle_timeout = 600\n")
    monkeypatch.setenv("WGJIT_POOL_IPV4", "10.8.0.0/16")
    status, output = run("show", "wg0", "--json")
    assert status == 0
    rows = {row["setting"]: row for row in map(json.loads, output.splitlines())}
    assert rows["gateway.idle_timeout"]["value"] == 600
    assert rows["gateway.idle_timeout"]["from"] == f"{folder}/wg0.toml:2"
    assert rows["pool.ipv4"]["from"] == "WGJIT_POOL_IPV4"
    assert rows["pool.quarantine"] == {
        "setting": "pool.quarantine",
        "value": 86400,
        "from": "default",
        "meaning": meanings()["pool", "quarantine"],
    }
    assert "gateway.idle_timeout = 600  (" in run("show", "wg0")[1]


# --- as the service's account ---------------------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another account, so it needs root")


def check_as(user: str, *words: str | Path) -> tuple[int, str]:
    """`wgjit config check --user`, in a process of its own, since it stays that account."""
    command = [sys.executable, "-m", "wgjit", "config", "check", "--user", user, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any account may enter. pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@as_root
def test_what_the_services_account_may_not_read_is_found(open_folder: Path) -> None:
    key, path, store = key_file(open_folder), open_folder / "wg0.toml", open_folder / "store"
    store.mkdir()
    (store / "wg0.db").touch(0o600)
    path.write_text(f'[interface]\nprivate_key_file = "{key}"\n[store]\npath = "{store}/wg0.db"\n')
    assert run("check", str(path))[0] == 0, "root may read everything"
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name

    status, output = check_as("nobody", path)
    remedy = f"if nobody is the service's account: chgrp {group} {key} && chmod 640 {key}"
    assert status == 1
    assert f"{path}:2: wg0: interface.private_key_file: {key}: Permission denied for nobody; {remedy}" in output
    assert f"{path}:4: wg0: store.path: {store}: nobody may not write in it, which SQLite needs" in output

    shutil.chown(key, group=group)
    key.chmod(0o640)
    shutil.chown(store, user="nobody")
    status, output = check_as("nobody", path)
    assert (status, "private_key_file" in output) == (1, False)
    assert f"store.path: {store}/wg0.db: may not be read and written by nobody" in output
    shutil.chown(store / "wg0.db", user="nobody")
    assert check_as("nobody", path) == (0, f"{path}: ok: wg0\n")


@as_root
def test_a_closed_folder_on_the_way_is_named(open_folder: Path) -> None:
    closed = open_folder / "etc"
    closed.mkdir(mode=0o700)
    (closed / "wg0.toml").write_text("")
    status, output = check_as("nobody", closed / "wg0.toml")
    assert status == 1
    assert f"{closed}/wg0.toml: Permission denied for nobody in {closed}; " in output
    assert f"chmod 750 {closed}" in output
    path = open_folder / "wg1.toml"
    path.write_text(f'[store]\npath = "{closed}/wg1/wg1.db"\n')
    assert f"store.path: {closed}/wg1: Permission denied for nobody in {closed}" in check_as("nobody", path)[1]


def test_an_account_that_is_not_there_is_told(folder: Path) -> None:
    status, output = check_as("no-such-account")
    assert (status, "no account 'no-such-account' on this machine" in output) == (1, True)
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert check_as(me, folder / "none.toml")[1].endswith("none.toml: No such file or directory\n")
