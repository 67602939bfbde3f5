"""A path means the peer that it spells, and no other: each segment is decoded once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from urllib.parse import quote, unquote

import httpx
import pytest
from hypothesis import given as generate
from hypothesis import strategies as st

from tests.unit.api.conftest import Api
from tests.unit.api.test_peers import new_key, problem
from wgjit.api.entrance.segments import SLASH, decoded_path, given
from wgjit.api.problems import Problem

ODD = [
    "branch/berlin",
    "a/b",
    "a%2Fb",
    "a%252Fb",
    "50% off?#x",
    "50%25 off",
    "+",
    "a b",
    "..",
    "/",
    "//",
    "%",
    "%2",
    "Zoë/ü",
    "import/",
    "claim",
]
_numbers = itertools.count(1)


@pytest.fixture
def local(api: Api) -> httpx.Client:
    """One client on the socket: each has a connection of its own."""
    return api.local


@pytest.fixture
def odd(local: httpx.Client) -> Iterator[dict[str, str]]:
    """Peers with odd names, and their keys by name."""
    keys = {}
    for name in ODD:
        body = {"name": name, "public_key": new_key(), "allowed_ips": [f"10.77.0.{next(_numbers)}/32"]}
        answer = local.post("/v1/peers", json=body)
        assert answer.status_code == 201, answer.text
        keys[name] = answer.json()["public_key"]
    yield keys
    for key in keys.values():
        local.delete(f"/v1/peers/{quote(key, safe='')}")


def test_each_name_is_found_by_its_percent_encoded_form_and_no_other(local: httpx.Client, odd: dict[str, str]) -> None:
    for name, key in odd.items():
        plain = {quote(name, safe="")} - {".."}  # which clients take for the folder above
        for encoded in plain | {"".join(f"%{byte:02X}" for byte in name.encode())}:
            answer = local.get(f"/v1/peers/{encoded}")
            assert (answer.status_code, answer.json().get("public_key")) == (200, key), (name, encoded)
    twice = local.get(f"/v1/peers/{quote(quote('branch/berlin', safe=''), safe='')}")
    assert problem(twice) == (404, "no-such-peer")


def test_what_was_not_asked_for_is_not_removed(local: httpx.Client, odd: dict[str, str]) -> None:
    """`a%2Fb` on the wire is the peer a/b: the one that is called a%2Fb literally stays."""
    assert local.delete("/v1/peers/a%2Fb").status_code == 204
    assert problem(local.get("/v1/peers/a%2Fb")) == (404, "no-such-peer")
    assert local.get("/v1/peers/a%252Fb").json()["public_key"] == odd["a%2Fb"]
    assert problem(local.delete("/v1/peers/a%2Fb")) == (404, "no-such-peer")
    assert problem(local.delete("/v1/peers/a/b"))[0] == 404, "two segments"
    assert local.delete("/v1/peers/a%252Fb").status_code == 204


def test_what_follows_a_name_with_a_slash_is_its_route(local: httpx.Client, odd: dict[str, str]) -> None:
    answer = local.patch("/v1/peers/branch%2Fberlin", json={"labels": {"a": "b"}})
    assert (answer.status_code, answer.json()["public_key"]) == (200, odd["branch/berlin"])
    assert local.get("/v1/peers/branch%2Fberlin/claim").status_code in (200, 404)
    assert local.get("/v1/peers/claim").json()["public_key"] == odd["claim"]


def test_a_key_is_a_key_in_each_form(local: httpx.Client, odd: dict[str, str]) -> None:
    for key in odd.values():
        for form in (quote(key, safe=""), key.rstrip("=").translate(str.maketrans("+/", "-_"))):
            assert local.get(f"/v1/peers/{form}").json()["public_key"] == key
    unknown = new_key()
    answer = local.get(f"/v1/peers/{quote(unknown, safe='')}")
    assert answer.json()["detail"] == "no peer of this public key is registered"


def test_a_prefix_is_a_handle(local: httpx.Client) -> None:
    key = new_key()
    local.post("/v1/peers", json={"public_key": key, "allowed_ips": ["10.78.0.0/24"]})
    assert local.get("/v1/peers/10.78.0.0%2F24").json()["public_key"] == key
    local.delete("/v1/peers/10.78.0.0%2F24")
    assert problem(local.get("/v1/peers/10.78.0.0%2F24")) == (404, "no-such-peer")


def test_a_name_that_is_anothers_address_is_ambiguous(local: httpx.Client) -> None:
    one, other = new_key(), new_key()
    local.post("/v1/peers", json={"public_key": one, "allowed_ips": ["10.79.0.1/32"]})
    local.post("/v1/peers", json={"public_key": other, "allowed_ips": ["10.79.0.2/32"], "name": "10.79.0.1"})
    assert problem(local.delete("/v1/peers/10.79.0.1")) == (409, "ambiguous-handle")
    for key in (one, other):
        assert local.delete(f"/v1/peers/{quote(key, safe='')}").status_code == 204


@pytest.mark.parametrize("path", ["/v1/peers/%FF", "/v1/peers/a%00b", "/v1/peers/%C3/claim"])
def test_what_no_name_can_be_is_refused(local: httpx.Client, path: str) -> None:
    assert problem(local.get(path)) == (400, "malformed")


def test_a_token_with_a_slash_in_its_name_can_be_revoked(local: httpx.Client) -> None:
    local.post("/v1/tokens", json={"name": "ci/deploy", "scope": "read"})
    assert local.delete("/v1/tokens/ci%2Fdeploy").status_code == 200


@generate(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_segments_come_back_as_they_were_sent(texts: list[str]) -> None:
    path = decoded_path("/".join(quote(text, safe="") for text in texts).encode())
    assert path.count("/") == len(texts) - 1
    assert list(given(dict(enumerate(path.split("/")))).values()) == texts  # type: ignore[arg-type]


def test_a_zero_byte_cannot_stand_for_a_slash() -> None:
    assert unquote("%00") == SLASH
    with pytest.raises(Problem):
        decoded_path(b"/v1/peers/a%00b")


def test_what_is_no_text_stays() -> None:
    assert given({"number": 7}) == {"number": 7}
