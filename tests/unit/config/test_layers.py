"""Which line a mistake is on, who said what, and what two interfaces cannot share."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgjit.config import load, load_all, load_config
from wgjit.config.environment import VARIABLES, put_store, unknown_variables
from wgjit.config.layers import Named
from wgjit.config.positions import Positions
from wgjit.errors import ConfigError

TEXT = """\
# a comment
gateway.idle_timeout = 5

[interface]
addresses = [
  "10.8.0.1/16", # first
  "nonsense",
]

pool = { ipv4 = "10.8.0.0/16", quarantine = 1 }
[client]
dns = ["a", "b"]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("gateway",), 2),
        (("gateway", "idle_timeout"), 2),
        (("interface", "addresses"), 5),
        (("interface", "addresses", 0), 6),
        (("interface", "addresses", 1), 7),
        (("interface", "pool", "quarantine"), 10),
        (("client", "dns", 1), 12),
        (("client", "absent"), 11),
        (("absent",), 1),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_line_of_a_value(path: tuple[str | int, ...], line: int, newline: str) -> None:
    assert Positions(TEXT.replace("\n", newline)).line(path) == line


def told(caught: pytest.ExceptionInfo[ConfigError], path: Path) -> list[str]:
    return str(caught.value).replace(f"{path}:", "").splitlines()


def test_all_mistakes_are_told_each_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wg0.toml"
    path.write_text(
        "[gatway]\n[gateway]\nidle_timeout = 5\nhold_dedline = 1\nquarantine = 4\n"
        '[interface]\naddresses = [\n"10.8.0.1/16",\n"x",\n]\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert told(caught, path) == [
        "1: gatway: no such setting; did you mean gateway?",
        "3: gateway.idle_timeout: input should be greater than or equal to 180",
        "4: gateway.hold_dedline: no such setting; did you mean hold_deadline?",
        "5: gateway.quarantine: no such setting; did you mean pool.quarantine?",
        "9: interface.addresses.1: value is not a valid IPv4 or IPv6 interface",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[gateway]\nname = 'x'\n[gateway\n", "3: not TOML"),
        (b"\n[interface]\naddresses = [\n'10.8.0.1/16'\n", "3: not TOML"),
        (b"[gateway]\nname = '\xff'\n", "2: not TOML: not UTF-8"),
        (b"gateway = 5\n", "1: gateway: write a section: [gateway]"),
        (b"interfaces = 5\n", "1: interfaces: write a section for each interface, such as [interfaces.wg0]"),
        (
            b"[store]\nurl = 'https://a'\n[gateway]\nhold_deadline = 0.2\n",
            "4: gateway.hold_deadline: store.timeout: 0.3",
        ),
        (b"[api]\nlisten = '[::]:1'\n", "2: api.listen: set tls_certificate_file and tls_private_key_file too"),
        (b"[interfaces.wg1.pool]\nipv4 = 'x'\n", "2: interfaces.wg1.pool.ipv4: "),
    ],
)
def test_a_mistake_of_shape_has_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "wg0.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (line,) = told(caught, path)
    assert line.startswith(said)


def test_a_key_where_a_file_should_be_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "wg0.toml"
    path.write_text(f'[interface]\nprivate_key_file = "{"k" * 42}s="\n')
    with pytest.raises(ConfigError, match=r":2: interface\.private_key_file: this is a key") as caught:
        load_config(path)
    assert "kkk" not in str(caught.value)


def test_option_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = tmp_path / "wg0.toml"
    path.write_text('[gateway]\nidle_timeout = 300\ncapacity = 7\nname = "file"\ndelivery = "flip"\n')
    environment = {
        "WGJIT_GATEWAY_CAPACITY": "8",
        "WGJIT_GATEWAY_NAME": "",
        "WGJIT_GATEWAY_DELIVERY": "replay",
        "WGJIT_GATEWAY_EXCLUSIVE": "true",
        "WGJIT_INTERFACE_ADDRESSES": "10.8.0.1/16, fd00::1/64,",
        "UNRELATED": "x",
    }
    options = Named("command line")
    options.put("--delivery", ("gateway", "delivery"), "hold")
    loaded = load("wg0", path, [options], environment)
    gateway = loaded.config.gateway
    assert (gateway.idle_timeout, gateway.capacity, gateway.name, gateway.delivery) == (300, 8, "file", "hold")
    assert gateway.exclusive
    assert [str(address) for address in loaded.config.interface.addresses] == ["10.8.0.1/16", "fd00::1/64"]
    named = ("idle_timeout", "capacity", "delivery", "queue_length")
    assert [str(loaded.origin(("gateway", name))) for name in named] == [
        f"{path}:2",
        "WGJIT_GATEWAY_CAPACITY",
        "--delivery",
        "default",
    ]


def test_a_mistake_names_its_variable_and_no_file() -> None:
    environment = {"WGJIT_GATEWAY_IDLE_TIMEOUT": "5", "WGJIT_INTERFACE_ADDRESSES": "10.8.0.1/16,x"}
    with pytest.raises(ConfigError) as caught:
        load("wg0", None, [], environment)
    assert sorted(str(caught.value).splitlines()) == [
        "WGJIT_GATEWAY_IDLE_TIMEOUT: input should be greater than or equal to 180",
        "WGJIT_INTERFACE_ADDRESSES: entry 2: value is not a valid IPv4 or IPv6 interface",
    ]


def test_a_mistake_counts_also_where_something_comes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "wg0.toml"
    path.write_text("[gateway]\nidle_timeout = 5\n")
    with pytest.raises(ConfigError, match=r"wg0\.toml:2: gateway\.idle_timeout"):
        load("wg0", path, [], {"WGJIT_GATEWAY_IDLE_TIMEOUT": "600"})


@pytest.mark.parametrize(
    ("text", "path", "url"),
    [
        ("/srv/a.db", Path("/srv/a.db"), None),
        ("https://r.example/v1", None, "https://r.example/v1"),
        ("https:/r.example/v1", None, "https://r.example/v1"),
    ],
)
def test_the_short_store_takes_the_place_of_the_whole_store(
    tmp_path: Path, text: str, path: Path | None, url: str | None
) -> None:
    """An address in the environment must not take a registry that the file names for its cache."""
    file = tmp_path / "wg0.toml"
    file.write_text('[store]\npath = "/srv/other.db"\n')
    options = Named("command line")
    put_store(options, "--store", text)
    for loaded in (load("wg0", file, [options], {}), load("wg0", file, [], {"WGJIT_STORE": text})):
        assert (loaded.config.store.path, loaded.config.store.url) == (path, url)


def test_every_setting_has_one_variable_and_typos_are_noticed() -> None:
    assert len(set(VARIABLES.values())) == len(VARIABLES)
    assert VARIABLES["WGJIT_STORE_TIME_TO_LIVE"] == ("store", "time_to_live")
    environment = {"WGJIT_GATEWAY_IDLE_TIMEOT": "secret", "WGJIT_STORE": "x", "WGJIT_VENV": "x", "WGJIT_PORT": "tcp://"}
    assert unknown_variables(environment) == [
        "WGJIT_GATEWAY_IDLE_TIMEOT: no such variable; did you mean WGJIT_GATEWAY_IDLE_TIMEOUT?",
        "WGJIT_PORT: no such variable",
    ]


SHARED = """
[gateway]
idle_timeout = 300
capacity = 7
[interfaces.wg0]
[interfaces.wg1.gateway]
idle_timeout = 600
"""


def test_one_file_for_several_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "wgjit.toml"
    path.write_text(SHARED)
    first, second = load_all(["wg0", "wg1"], path, [], {})
    assert (first.config.gateway.idle_timeout, second.config.gateway.idle_timeout) == (300, 600)
    assert (first.config.gateway.capacity, second.config.gateway.capacity) == (7, 7)
    assert str(second.origin(("gateway", "idle_timeout"))) == f"{path}:7"
    with pytest.raises(ConfigError, match="does not list wg2, only: wg0, wg1"):
        load("wg2", path, [], {})


@pytest.mark.parametrize(
    ("common", "said"),
    [
        ("[interface]\nprivate_key_file = 'k'\n", "interface.listen_port: 51820 is that of wg0 and of wg1"),
        ("[interface]\nprivate_key_file = 'k'\n", "interface.private_key_file: k is that of wg0 and of wg1"),
        ("[api]\nsocket = '/s'\n", "api.socket: /s is that of wg0 and of wg1"),
        ("[store]\nurl = 'https://a'\npath = '/c'\n", "store.path: /c is that of wg0 and of wg1, and keeps a service"),
    ],
)
def test_what_two_interfaces_cannot_share(tmp_path: Path, common: str, said: str) -> None:
    path = tmp_path / "wgjit.toml"
    path.write_text(f"{common}[interfaces.wg0]\n[interfaces.wg1]\n")
    with pytest.raises(ConfigError) as caught:
        load_all(["wg0", "wg1"], path, [], {})
    assert said in str(caught.value)


@pytest.mark.parametrize("common", ["[store]\npath = '/r.db'\n", "[interface]\nlisten_port = 4500\n"])
def test_what_two_interfaces_may_share(tmp_path: Path, common: str) -> None:
    path = tmp_path / "wgjit.toml"
    path.write_text(f"{common}[interfaces.wg0]\n[interfaces.wg1]\n")
    assert len(load_all(["wg0", "wg1"], path, [], {})) == 2


def test_two_files_for_one_interface_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgjit.config.folders.CONFIG_FOLDER", tmp_path)
    (tmp_path / "wgjit.toml").write_text(SHARED)
    assert load("wg1", None, [], {}).config.gateway.idle_timeout == 600
    assert load("wg2", None, [], {}).path is None
    (tmp_path / "wg1.toml").write_text("")
    with pytest.raises(ConfigError, match=r"wgjit\.toml:6: interfaces\.wg1: .*wg1\.toml configures wg1, too"):
        load("wg1", None, [], {})
