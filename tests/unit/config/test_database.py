"""Settings of a registry in PostgreSQL: what goes together, what a check finds, and a password that nobody shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from wgjit import cli
from wgjit.cli.shared.application import command_line
from wgjit.config import Config, StoreSettings, load, load_all, load_config
from wgjit.config.checks import check
from wgjit.config.environment import VARIABLES, put_store
from wgjit.config.layers import Named
from wgjit.database_url import DatabaseUrl
from wgjit.errors import ConfigError

SECRET = "hunter2-Zq8"
URL = f"postgresql://wgjit:{SECRET}@db1,db2:5433/wgjit?target_session_attrs=read-write&sslmode=verify-full"
SHOWN = "postgresql://db1,db2:5433/wgjit"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("wgjit.config.folders.CONFIG_FOLDER", tmp_path)
    for name in ("WGJIT_CONFIG", "WGJIT_STORE", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(folder: Path, text: str, name: str = "wg0") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("text", [f'store = "{URL}"', f'[store]\nurl = "{URL}"\n'])
def test_a_url_in_the_file(folder: Path, text: str) -> None:
    config = load_config(write(folder, text))
    assert config.store.database == DatabaseUrl(URL)
    assert config.store.service is None
    assert config.store_path("wg0") == Path("/var/lib/wgjit/wg0.replica.db")
    assert (config.store.poll, config.store.read_url, config.gateway.address) == (0.25, None, None)


def test_all_of_it_from_the_environment(folder: Path) -> None:
    environment = {
        "WGJIT_STORE_URL": "postgresql:///wgjit?host=/run/postgresql",
        "WGJIT_STORE_READ_URL": "postgres://near/wgjit",
        "WGJIT_STORE_PATH": "/data/replica.db",
        "WGJIT_STORE_POLL": "0.5",
        "WGJIT_GATEWAY_ADDRESS": "fra1.example.org:51820",
    }
    config = load("wg0", environment=environment).config
    assert str(config.store.database) == "postgresql:///run/postgresql/wgjit"
    assert str(config.store.read_url) == "postgresql://near/wgjit"
    assert config.store_path("wg0") == Path("/data/replica.db")
    assert (config.store.poll, config.gateway.address) == (0.5, "fra1.example.org:51820")


def test_the_short_form_takes_the_place_of_all_that_was_said_of_another_store(folder: Path) -> None:
    write(folder, f'[store]\nurl = "{URL}"\nread_url = "postgresql://near/wgjit"\npath = "/data/replica.db"\n')
    for short, database, path in (
        ("postgresql:///other", "postgresql:///other", "wg0.replica.db"),
        ("/srv/peers.db", None, "peers.db"),
        ("https://r.example.org", None, "wg0.cache.db"),
    ):
        config = load("wg0", environment={"WGJIT_STORE": short}).config
        assert (str(config.store.database) if database else None) == database
        assert config.store_path("wg0").name == path
        assert config.store.read_url is None
    write(folder, f'[store]\nurl = "https://r.example.org"\ntoken_file = "{folder}/token"\n')
    options = Named("command line")
    put_store(options, "--store", URL)
    assert load("wg0", options=[options]).config.store.token_file is None


def test_nothing_shows_the_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, f'[store]\nurl = "{URL}"\nread_url = "postgresql://u:{SECRET}@near/wgjit"\n')
    config = load("wg0").config
    result = CliRunner().invoke(command_line("config"), ["config", "show", "wg0"])
    as_json = CliRunner().invoke(command_line("config"), ["config", "show", "wg0", "--json"])
    checked = CliRunner().invoke(command_line("config"), ["config", "check"])
    told = [repr(config), str(config), str(config.model_dump()), config.model_dump_json(), repr(config.store.url)]
    told += [result.output, as_json.output, checked.output]
    assert not any(SECRET in text for text in told)
    assert f'store.url = "{SHOWN}"' in result.output
    assert f'"value": "{SHOWN}"' in as_json.output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'url = "postgresql://u:{SECRET}/@h/db"', "2: store.url: the PostgreSQL URL: has a / or @ too many"),
        (f'url = "postgresq://u:{SECRET}@h/db"', "2: store.url: write an address such as https://registry"),
        (f'url = "postgresql:/u:{SECRET}@h/db"', "2: store.url: write a URL such as postgresql://wgjit@"),
        (f'url = ["{URL}"]', "2: store.url: write an address in quotes"),
        (f'read_url = "https://u:{SECRET}@h"', "2: store.read_url: write a URL such as postgresql://"),
        (f'path = "{URL}"', "2: store.path: this is an address; write it as store.url"),
        (f'path = "postgresql//u:{SECRET}@h/db"', "2: store.path: this is an address; write it as store.url"),
        (f'pth = "{URL}"', "2: store.pth: no such setting; did you mean path?"),
        (
            f'url = "{URL}"\ntoken_file = "/t"',
            "3: store.token_file: is for a service, and store.url is a PostgreSQL database; leave it out: a password "
            "for PostgreSQL is kept in a passfile: passfile=FILE in store.url",
        ),
        (
            f'url = "{URL}"\nca_file = "/t"',
            "3: store.ca_file: is for a service, and store.url is a PostgreSQL database; leave it out: write "
            "sslrootcert=FILE and sslmode=verify-full in store.url",
        ),
        (
            f'url = "https://r.example.org"\nread_url = "{URL}"',
            "3: store.read_url: is a standby of a registry in PostgreSQL, and store.url is none; set store.url",
        ),
        (f'read_url = "{URL}"', "2: store.read_url: is a standby of a registry in PostgreSQL, and store.url is none"),
        ("poll = 0.01", "2: store.poll: input should be greater than or equal to 0.05"),
        ("poll = 61", "2: store.poll: input should be less than or equal to 60"),
    ],
)
def test_a_mistake_has_line_field_and_fix_and_no_password(folder: Path, text: str, told: str) -> None:
    path = write(folder, f"[store]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:{told}")
    assert SECRET not in str(caught.value)


def test_an_error_of_pydantic_does_not_repeat_it_either() -> None:
    for make in (lambda: StoreSettings(path=URL), lambda: Config.model_validate({"store": {"pth": URL}})):
        with pytest.raises(ValidationError) as caught:
            make()
        assert SECRET not in str(caught.value) + repr(caught.value)


def test_an_address_has_no_key_in_it(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.address: a key stands in it"):
        load_config(write(folder, f'[gateway]\naddress = "{"A" * 43}="\n'))


def test_two_interfaces_have_a_copy_and_a_name_each(folder: Path) -> None:
    text = '[store]\nurl = "postgresql://db1/wgjit"\npath = "/data/replica.db"\n[gateway]\nname = "NAME"\n'
    for name in ("wg0", "wg1"):
        write(folder, text.replace("NAME", "fra1"), name)
    with pytest.raises(ConfigError) as caught:
        load_all(["wg0", "wg1"], environment={})
    assert str(caught.value).splitlines() == [
        f"{folder}/wg1.toml:3: store.path: /data/replica.db is that of wg0 and of wg1, and keeps a gateway's copy of "
        "the registry; give each its own",
        f"{folder}/wg1.toml:5: gateway.name: fra1 in postgresql://db1/wgjit is that of wg0 and of wg1; give each its "
        "own",
    ]
    write(folder, text.replace("NAME", "fra2").replace("replica", "replica2"), "wg1")
    assert len(load_all(["wg0", "wg1"], environment={})) == 2
    write(folder, text.replace("NAME", "fra1").replace("replica", "replica2").replace("db1", "db2"), "wg1")
    assert len(load_all(["wg0", "wg1"], environment={})) == 2


# --- what `wgjit config check` finds --------------------------------------------------------------------------------


def findings(folder: Path, text: str) -> list[tuple[str, str, bool]]:
    loaded = load("wg0", write(folder, f"[store]\npath = '{folder}/replica.db'\n{text}"), environment={})
    return [(found.mistake.field.split()[1], found.mistake.text, found.is_warning) for found in check(loaded)]


SAFE = "postgresql://w@db1/wgjit?sslmode=verify-full"


@pytest.mark.parametrize(
    ("text", "field", "told", "is_warning"),
    [
        ("url = 'postgresql://w@db1/x'", "store.url", "does not check the server's certificate", True),
        ("url = 'postgresql://w@db1/x?sslmode=require'", "store.url", "does not check the server's certificate", True),
        (f"url = '{SAFE}'\nread_url = 'postgresql://n/x'", "store.read_url", "does not check the server's cert", True),
        (
            f"url = '{SAFE}'\nread_url = '{SAFE}&target_session_attrs=read-write'",
            "store.read_url",
            "takes no standby",
            True,
        ),
        (
            "url = 'postgresql://w@db1,db2/x?sslmode=verify-full'",
            "store.url",
            "add target_session_attrs=read-write",
            True,
        ),
        (f"url = '{SAFE}&passfile=/none'", "store.url", "passfile: /none: No such file", False),
        (f"url = '{SAFE}&sslrootcert=/none'", "store.url", "sslrootcert: /none: No such file", False),
        (f"url = '{SAFE}'\nfollow = false", "store.follow", "has no effect: store.url is a PostgreSQL", True),
        (f"url = '{SAFE}'\ntimeout = 0.5", "store.timeout", "has no effect", True),
        (f"url = '{SAFE}'\nstale = 5", "store.stale", "has no effect", True),
        (f"url = '{SAFE}'\ntime_to_live = 5", "store.time_to_live", "has no effect", True),
        ("poll = 1", "store.poll", "has no effect: store.url is no PostgreSQL database", True),
    ],
)
def test_what_is_likely_not_meant_is_found(folder: Path, text: str, field: str, told: str, is_warning: bool) -> None:
    [found] = findings(folder, text)
    assert (found[0], found[2]) == (field, is_warning)
    assert told in found[1]


@pytest.mark.parametrize(
    "url",
    [
        SAFE,
        "postgresql:///wgjit?host=/run/postgresql",
        "postgresql:///wgjit",
        "postgresql://localhost/wgjit",
        "postgresql://127.0.0.1,[::1]/wgjit?target_session_attrs=primary",
        "postgresql://db1/wgjit?sslrootcert=system",
    ],
)
def test_what_is_fine_has_no_finding(folder: Path, url: str) -> None:
    assert findings(folder, f"url = '{url}'\npoll = 1\n") == []


def test_the_files_that_hold_a_password_are_ones_own(folder: Path) -> None:
    passfile = folder / "pass"
    passfile.write_text(f"*:*:*:*:{SECRET}\n")
    passfile.chmod(0o640)
    text = f"url = '{SAFE}&passfile={passfile}'"
    [(_, told, is_warning)] = findings(folder, text)
    assert not is_warning
    assert f"passfile: {passfile}: libpq ignores it, since others may read it; chmod 600 {passfile}" in told
    passfile.chmod(0o600)
    assert findings(folder, text) == []
    path = write(folder, f"[store]\nurl = '{URL}'\npath = '{folder}/x.db'\n")
    path.chmod(0o644)
    [found] = check(load("wg0", path, environment={}))
    assert found.is_warning
    assert re.search("has a password in it, and others may read this file; .*chmod 640", found.mistake.text)
    path.chmod(0o640)
    assert check(load("wg0", path, environment={})) == []


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["peer", "list", URL],
        ["peer", "list", f"--stor={URL}"],
        ["peer", "list", "--store", URL.replace("db2", "db2/x")],
        ["peer", "list", "--limit", URL],
        ["peer", "list", "--config", URL],
        ["config", "show", "--config", URL],
        ["registry", "init", URL.replace("postgresql", "postgresq")],
        ["registry", "init", URL.replace("5433", "99999")],
        ["registry", URL],
        ["up", URL],
        [URL],
    ],
)
def test_no_mistake_in_a_command_repeats_the_password(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["wgjit", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code != 0
    told = capsys.readouterr()
    assert SECRET not in "".join((told.out + told.err).replace("│", "").split())
