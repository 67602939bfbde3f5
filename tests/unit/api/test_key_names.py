"""A key in the place of a name, a label or a field: refused by the API, and in no answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.unit.api.conftest import Api
from tests.unit.api.test_peers import fields, new_key, problem

RAW = bytes(range(100, 132))
SECRET = base64.b64encode(RAW).decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": SECRET}, "name"),
        ({"name": f"psk/{SECRET}"}, "name"),
        ({"name": f"key {RAW.hex()}"}, "name"),
        ({"labels": {"psk": SECRET}}, "labels"),
        ({"labels": {SECRET[:43]: "x"}}, "labels"),
        ({"allowed_ips": [SECRET]}, "allowed_ips"),
        ({"expires_at": SECRET}, "expires_at"),
        ({"expires_in": SECRET}, "expires_in"),
        ({"keepalive": SECRET}, "keepalive"),
        ({SECRET: "x"}, "(withheld: holds a key)"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_with_a_key_in_a_text_is_refused(api: Api, method: str, body: dict[str, Any], field: str) -> None:
    own = {"public_key": new_key(), "allowed_ips": ["10.77.0.1/32"]}
    if method == "POST":
        answer = api.local.post("/v1/peers", json=own | body)
    else:
        assert api.local.post("/v1/peers", json=own | {"name": "patched"}).status_code == 201
        answer = api.local.patch("/v1/peers/patched", json=body)
        assert api.local.delete("/v1/peers/patched").status_code == 204
    assert problem(answer) == (422, "invalid-value")
    assert fields(answer) == [field]
    assert SECRET[:20] not in answer.text
    assert RAW.hex() not in answer.text


@pytest.mark.parametrize(
    "line", [{"name": SECRET}, {"labels": {"psk": SECRET}}, {SECRET: 1}, {"allowed_ips": [SECRET]}]
)
def test_an_import_tells_the_line_and_nothing_of_it(api: Api, line: dict[str, Any]) -> None:
    answer = api.local.post(
        "/v1/peers/import",
        params={"skip_bad": True},
        content=json.dumps({"public_key": new_key()} | line),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert answer.json()["refused"] == 1
    assert SECRET[:20] not in answer.text


def test_no_other_answer_and_no_log_repeats_one(api: Api) -> None:
    http = api.local
    answers = [
        http.get("/v1/peers", params={SECRET: 1}),
        http.get("/v1/peers", params={"after": SECRET[:43]}),
        http.get("/v1/peers", params={"label": SECRET}),
        http.get("/v1/peers", params={"state": SECRET}),
        http.get("/v1/peers", params={"limit": SECRET}),
        http.get(f"/v1/peers/x{SECRET[:43].replace('/', '_').replace('+', '-')}"),
        http.get("/v1/peers/psk " + SECRET.replace("/", "%2F")),
        http.get(f"/v1/{SECRET}"),
        http.post("/v1/tokens", json={"name": SECRET, "scope": "read"}),
        http.post("/v1/tokens", json={"name": "x", "scope": SECRET}),
        http.delete(f"/v1/tokens/{SECRET[:43].replace('/', '_')}"),
        http.get("/v1/audit", params={"since": SECRET}),
        http.get("/v1/audit", params={"peer": f"x {SECRET}"}),
        http.patch("/v1/peers/x", content=SECRET, headers={"Content-Type": "application/json"}),
        api.remote(SECRET).get("/v1/peers"),
    ]
    assert [answer.status_code for answer in answers if not 400 <= answer.status_code < 500] == []
    for answer in answers:
        assert SECRET[:20] not in answer.text
        assert SECRET[:20].replace("/", "_") not in answer.text
    assert SECRET[:20] not in api.log()
