"""Who may do what over TLS; the socket's users; how often."""

from __future__ import annotations

import asyncio
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.unit.api.conftest import Api
from tests.unit.api.test_peers import new_key, problem
from wgjit.api.caller import source_of
from wgjit.api.entrance.threads import Threads
from wgjit.api.known_tokens import AGE, KnownTokens
from wgjit.stores import token_rules

SCOPES = {"read": {"read"}, "write": {"read", "write"}, "gateway": {"read"}, "admin": {"read", "write", "admin"}}


def requests(api: Api) -> list[tuple[str, str, str]]:
    """Method, path and the scope that its description says, of every route but streams and health."""
    described = api.local.get("/v1/openapi.json").json()
    return [
        (method.upper(), path, operation["description"].rpartition("Scope: ")[2].rstrip("."))
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if path not in ("/v1/healthz", "/v1/gateway/healthz", "/v1/feed", "/v1/changes")
    ]


@pytest.mark.parametrize("scope", SCOPES)
def test_each_route_asks_for_the_scope_that_it_says(api: Api, scope: str) -> None:
    http = api.remote(api.token(scope))
    every = requests(api)
    assert len(every) >= 17
    assert {needed for _, _, needed in every} == {"read", "write", "admin"}
    for method, path, needed in every:
        answer = http.request(method, path.replace("{peer}", "nobody").replace("{token}", "nobody"))
        if needed in SCOPES[scope]:
            assert answer.status_code not in (401, 403), (method, path)
        else:
            assert problem(answer) == (403, "insufficient-scope"), (method, path)
            assert answer.json()["scope"] == needed
            assert f'scope="{needed}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(("scope", "sees"), [("read", False), ("write", False), ("admin", True), ("gateway", True)])
def test_preshared_keys_are_for_admin_and_gateway(api: Api, scope: str, sees: bool) -> None:
    name, psk = f"psk-{scope}", "A" * 43 + "="
    assert api.local.post("/v1/peers", json={"name": name, "preshared_key": psk}).status_code == 201
    http = api.remote(api.token(scope))
    for path in (f"/v1/peers/{name}?preshared_key=true", "/v1/peers/export?preshared_keys=true"):
        answer = http.get(path)
        assert answer.status_code == (200 if sees else 403)
        assert (psk in answer.text) is sees
    assert psk not in http.get(f"/v1/peers/{name}").text


def test_no_token_a_wrong_one_a_revoked_one(own: Callable[..., Api]) -> None:
    api = own()
    valid = api.token("admin", name="to revoke")
    http = api.remote(valid)
    assert http.get("/v1/count").status_code == 200
    assert api.local.delete("/v1/tokens/to%20revoke").json()["state"] == "revoked"
    for client in (http, api.remote(valid[:-2] + "AA"), api.remote(None)):
        answer = client.get("/v1/count")
        assert problem(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert problem(client.get("/nothing")) == (401, "unauthenticated")
    assert api.remote(None).get("/v1/healthz").json() == {"status": "ok"}
    assert valid not in api.log()


def test_tokens_are_made_and_listed_over_http(api: Api) -> None:
    body = {"name": "deploy", "scope": "write", "expires_in": "90d", "rate": 5}
    made = api.local.post("/v1/tokens", json=body).json()
    assert api.remote(made["token"]).get("/v1/count").status_code == 200
    listed = [each for each in api.local.get("/v1/tokens").json()["tokens"] if each["name"] == "deploy"]
    assert listed[0]["id"] == made["id"]
    assert "token" not in listed[0]
    assert problem(api.local.post("/v1/tokens", json=body)) == (409, "token-exists")
    assert problem(api.local.delete("/v1/tokens/none")) == (404, "no-such-token")


def test_the_audit_log_names_the_caller(api: Api) -> None:
    token = api.token("write", name="ops")
    api.remote(token).post("/v1/peers", json={"public_key": new_key(), "allowed_ips": ["10.40.0.1/32"], "name": "a1"})
    api.local.patch("/v1/peers/a1", json={"keepalive": 5})
    by = [entry["actor"] for entry in api.local.get("/v1/audit", params={"peer": "a1"}).json()["entries"]]
    assert by[0].startswith("socket uid ")
    assert by[1] == f"token ops ({token.split('_')[1]})"


def test_a_token_that_asks_too_often_waits_alone(api: Api) -> None:
    slow, other = api.remote(api.token("read", rate=0.001)), api.remote(api.token("read"))
    assert slow.get("/v1/count").status_code == 200
    answer = slow.get("/v1/count")
    assert problem(answer) == (429, "rate-limited")
    assert int(answer.headers["retry-after"]) > 900
    assert other.get("/v1/count").status_code == 200


def test_who_guesses_is_not_listened_to(own: Callable[..., Api]) -> None:
    server = own()
    good, bad = server.remote(server.token("read")), server.remote("wgjit_aaaaaaaa_" + "A" * 43)
    kinds = [problem(bad.get("/v1/count"))[1] for _ in range(40)]
    assert kinds[0] == "unauthenticated"
    assert "rate-limited" in kinds
    assert server.log().count("authentication failed") == min(20, kinds.count("unauthenticated"))  # so many a minute
    assert good.get("/v1/count").status_code == 200, "of the same address"
    assert server.local.get("/v1/count").status_code == 200


@pytest.mark.parametrize("header", ["none", "no token", "wrong", "an id that is known"])
def test_who_has_a_token_is_served_whatever_others_behind_the_same_address_do(
    own: Callable[..., Api], header: str
) -> None:
    server = own()
    text = server.token("read")
    shown = {
        "none": None,
        "no token": "x",
        "wrong": "wgjit_aaaaaaaa_" + "A" * 43,
        "an id that is known": text[:15] + "A" * 43,
    }
    good, bad = server.remote(text), server.remote(shown[header])
    kinds = []
    for _ in range(30):
        kinds.append(problem(bad.get("/v1/count"))[1])
        assert good.get("/v1/count").status_code == 200
    assert set(kinds) == {"unauthenticated", "rate-limited"}


def test_a_token_that_is_revoked_or_expired_is_not_known() -> None:
    now = time.time()
    store = Hashes({"aaaaaaaa": secret("A"), "bbbbbbbb": secret("B")})
    clock = [100.0]

    async def check() -> None:
        known = KnownTokens(store, Threads(), lambda: clock[0])  # type: ignore[arg-type]
        assert await known.has(text("aaaaaaaa", "A"))
        assert not await known.has(text("aaaaaaaa", "B")), "the secret of another one"
        assert not await known.has(text("cccccccc", "A"))
        assert not await known.has("wgjit_")
        del store.known["aaaaaaaa"]
        clock[0] += AGE
        assert not await known.has(text("aaaaaaaa", "A"))
        assert await known.has(text("bbbbbbbb", "B"))

    asyncio.run(check())
    assert all(at >= now for at in store.asked)


def test_the_registry_is_asked_once_a_second_however_many_wrong_tokens_come() -> None:
    store = Hashes({})
    clock = [100.0]

    async def check() -> None:
        known = KnownTokens(store, Threads(), lambda: clock[0])  # type: ignore[arg-type]
        await asyncio.gather(*(known.has(text("aaaaaaaa", "A")) for _ in range(500)))
        assert len(store.asked) == 1
        clock[0] += AGE
        await asyncio.gather(*(known.has(text("aaaaaaaa", "A")) for _ in range(500)))
        assert len(store.asked) == 2
        await known.has("not a token")
        assert len(store.asked) == 2

    asyncio.run(check())


class Hashes:
    """Registries whose tokens are these hashes by id."""

    def __init__(self, known: dict[str, bytes]) -> None:
        self.known = known
        self.asked: list[float] = []

    @contextmanager
    def use(self) -> Iterator[Any]:
        yield SimpleNamespace(tokens=self)

    def hashes(self, now: float) -> dict[str, bytes]:
        self.asked.append(now)
        return dict(self.known)


def text(number: str, letter: str) -> str:
    return f"wgjit_{number}_{letter * 42}A"


def secret(letter: str) -> bytes:
    parsed = token_rules.parse(text("aaaaaaaa", letter))
    assert parsed is not None
    return parsed[1]


def test_sources_are_counted_by_ipv4_address_and_ipv6_network() -> None:
    assert source_of({"client": ("192.0.2.1", 5)}) == "192.0.2.1"
    assert source_of({"client": ("::ffff:192.0.2.1", 5)}) == "192.0.2.1"
    assert source_of({"client": ("2001:db8::5", 5)}) == source_of({"client": ("2001:db8::ffff:1", 9)})
    assert source_of({"client": ("2001:db8::5", 5)}) != source_of({"client": ("2001:db8:0:1::5", 5)})


def test_tls_is_1_2_or_newer_and_plain_http_gets_nothing(api: Api) -> None:
    old = ssl.create_default_context(cafile=str(api.folder / "cert.pem"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=old, base_url=api.url) as http:
        http.get("/v1/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(api.url.replace("https", "http") + "/v1/healthz")
