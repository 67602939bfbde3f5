"""Settings of routes: what they may be, what goes together, and what a check finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from wgjit.config import Config, load, load_config
from wgjit.config.checks import check
from wgjit.config.environment import VARIABLES
from wgjit.core.settings import RouteRule
from wgjit.daemon.core_settings import core_settings
from wgjit.errors import ConfigError
from wgjit.model import Delivery, parse_allowed_ip

FLEET = 'store = "postgresql:///wgjit"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("wgjit.config.folders.CONFIG_FOLDER", tmp_path)
    for name in ("WGJIT_CONFIG", "WGJIT_STORE", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "wg0.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def rule(text: str, folder: Path) -> RouteRule | None:
    return core_settings(load_config(write(folder, text)), Delivery.NONE, store_is_local=True).routes


def test_they_are_off_and_simple_if_nothing_is_said(folder: Path) -> None:
    assert rule("", folder) is None
    routes = load_config(write(folder, "[routes]\nmode = 'residents'")).routes
    assert (routes.table, routes.protocol, routes.metric, routes.skip_covered) == (254, 87, "fixed", False)
    assert rule("[routes]\nmode = 'residents'", folder) == RouteRule()


def test_what_the_core_gets(folder: Path) -> None:
    assert rule(f"{FLEET}[routes]\nmode = 'residents'\nmetric = 'claim'", folder) == RouteRule(by_claim=True)
    text = (
        "[interface]\nprivate_key_file = '/k'\naddresses = ['10.8.0.1/16']\nroutes = ['10.9.0.0/24']\n"
        "[routes]\nmode = 'residents'\nskip_covered = true"
    )
    covered = (parse_allowed_ip("10.8.0.0/16"), parse_allowed_ip("10.9.0.0/24"))
    assert rule(text, folder) == RouteRule(leave_out=covered)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mode", "all", "'off' or 'residents'"),
        ("table", 0, "greater than or equal to 1"),
        ("table", 255, "255 is the kernel's own table; write 254 for main"),
        ("table", 2**32, "less than or equal to 4294967295"),
        ("protocol", 4, "greater than or equal to 5"),
        ("protocol", 256, "less than or equal to 255"),
        ("protocol", 12, "12 is the number of BIRD, which may take such routes away"),
        ("protocol", 186, "186 is the number of FRR's BGP"),
        ("metric", 7, "'fixed' or 'claim'"),
    ],
)
def test_values_that_cannot_be(name: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate({"routes": {name: value}})


def test_claims_are_compared_in_a_fleet_only(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"routes\.metric: claim compares the gateways of a fleet.*write fixed"):
        load_config(write(folder, "[routes]\nmode = 'residents'\nmetric = 'claim'"))


@pytest.mark.parametrize(
    ("text", "setting", "said"),
    [
        ("[routes]\ntable = 87", "routes.table", "has no effect: routes.mode is off"),
        ("[routes]\nskip_covered = true", "routes.skip_covered", "has no effect: routes.mode is off"),
        (f"{FLEET}[routes]\nmode = 'residents'\nskip_covered = true", "routes.skip_covered", "cannot be found"),
    ],
)
def test_what_is_probably_not_meant_so_is_told(folder: Path, text: str, setting: str, said: str) -> None:
    loaded = load("wg0", path=write(folder, text), environment={})
    (finding,) = [one for one in check(loaded) if "routes" in one.mistake.field]
    assert finding.is_warning
    assert finding.mistake.field == f"wg0: {setting}"
    assert said in finding.mistake.text
