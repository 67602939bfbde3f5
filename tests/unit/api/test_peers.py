"""Peers over HTTP: each verb, tags, answers that are given again, many at once."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest

from tests.unit.api.conftest import GATEWAY_KEY, Api
from wgjit.model import Claim, Endpoint, PrivateKey, PublicKey, Tai64n


def new_key() -> str:
    return str(PublicKey(os.urandom(32)))


def url(key: str) -> str:
    return "/v1/peers/" + base64.urlsafe_b64encode(base64.b64decode(key)).decode().rstrip("=")


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    return answer.status_code, told["type"].removeprefix("urn:wgjit:problem:")


def fields(answer: httpx.Response) -> list[str]:
    return [error["field"] for error in answer.json()["errors"]]


def test_a_peer_from_its_making_to_its_end(api: Api) -> None:
    http = api.local
    made = http.post("/v1/peers", json={"name": "alice", "labels": {"team": "infra", "env": "prod"}, "keepalive": 25})
    assert made.status_code == 201
    alice = made.json()
    assert str(PrivateKey.parse(alice["private_key"]).public()) == alice["public_key"]
    assert f"PrivateKey = {alice['private_key']}" in alice["config"]
    assert f"PublicKey = {GATEWAY_KEY}" in alice["config"]
    assert made.headers["location"] == url(alice["public_key"])

    for handle in ("alice", quote(alice["public_key"], safe=""), made.headers["location"].rpartition("/")[2]):
        shown = http.get(f"/v1/peers/{handle}")
        assert shown.status_code == 200
        assert shown.headers["etag"] == made.headers["etag"]
    assert shown.json() == {k: v for k, v in alice.items() if k not in ("private_key", "config")} | {
        "claim": None,
        "holding": None,
    }

    patched = http.patch(
        "/v1/peers/alice",
        content=json.dumps({"labels": {"env": None, "site": "x"}, "keepalive": None, "expires_in": "30d"}),
        headers={"Content-Type": "application/merge-patch+json"},
    ).json()
    assert patched["labels"] == {"team": "infra", "site": "x"}
    assert patched["keepalive"] == 0
    assert patched["expires_at"] is not None
    assert http.patch("/v1/peers/alice", json={"enabled": False, "labels": None}).json()["state"] == "disabled"
    assert http.get("/v1/peers/alice").json()["labels"] == {}

    rotated = http.post("/v1/peers/alice/rotate").json()
    assert rotated["public_key"] != alice["public_key"]
    assert rotated["allowed_ips"] == alice["allowed_ips"]
    assert problem(http.get(url(alice["public_key"]))) == (404, "no-such-peer")
    assert http.get("/v1/peers/alice/claim").json() == {"public_key": rotated["public_key"], "claim": None}
    assert http.delete("/v1/peers/alice/claim").json()["forgotten"] is False
    assert http.delete("/v1/peers/alice").status_code == 204
    assert problem(http.delete("/v1/peers/alice")) == (404, "no-such-peer")

    verbs = [entry["verb"] for entry in http.get("/v1/audit", params={"limit": 5}).json()["entries"]]
    assert verbs == ["remove", "rotate", "set", "set", "add"]
    assert api.log().count("internal error") == 0


def test_lists_counts_finds_and_removes_by_filter(api: Api) -> None:
    http = api.local
    keys = sorted((new_key() for _ in range(5)), key=base64.b64decode)
    for number, key in enumerate(keys):
        body = {"public_key": key, "allowed_ips": [f"10.20.0.{number}/32"], "labels": {"kind": "listed"}}
        assert http.post("/v1/peers", json={**body, "name": f"listed-{number}"}).status_code == 201
    seen, after = [], None
    while True:
        page = http.get("/v1/peers", params={"label": "kind=listed", "limit": 2} | ({"after": after} if after else {}))
        seen += [peer["public_key"] for peer in page.json()["peers"]]
        after = page.json()["next"]
        if after is None:
            break
    assert seen == keys
    assert http.get("/v1/count", params={"label": "kind=listed"}).json() == {"count": 5}
    assert [p["name"] for p in http.get("/v1/find", params={"q": "listed-3"}).json()["peers"]] == ["listed-3"]
    assert [p["name"] for p in http.get("/v1/find", params={"q": "10.20.0.4"}).json()["peers"]] == ["listed-4"]
    bad = http.get("/v1/peers", params={"expires_before": "+1d", "after": "9" * 40 + ":" + keys[0]})
    assert (problem(bad), fields(bad)) == ((422, "invalid-value"), ["after"])
    assert fields(http.delete("/v1/peers")) == ["label"]
    assert fields(http.delete("/v1/peers", params={"label": "kind=listed"})) == ["confirm"]
    gone = http.delete("/v1/peers", params={"label": "kind=listed", "confirm": "true"})
    assert gone.json() == {"removed": 5}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"public_key": "nonsense"}, "public_key"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips"),
        ({"preshared_key": "c2VjcmV0"}, "preshared_key"),
        ({"keepalive": 70000}, "keepalive"),
        ({"keepalive": "25"}, "keepalive"),
        ({"idle_timeout": 5}, "idle_timeout"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_in": "soon"}, "expires_in"),
        ({"expires_in": "1d", "expires_at": 5}, "expires_in"),
        ({"name": ""}, "name"),
        ({"labels": {"-": "x"}}, "labels"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_value_is_told_by_its_field(api: Api, body: dict[str, object], field: str) -> None:
    answer = api.local.post("/v1/peers", json=body)
    assert (problem(answer), fields(answer)) == ((422, "invalid-value"), [field])
    assert "c2VjcmV0" not in answer.text


def test_conflicts(api: Api) -> None:
    http, key = api.local, new_key()
    body = {"public_key": key, "allowed_ips": ["10.21.0.1/32"], "name": "first"}
    assert http.post("/v1/peers", json=body).status_code == 201
    taken = http.post("/v1/peers", json={**body, "name": "second"})
    assert (problem(taken), fields(taken)) == ((409, "peer-exists"), ["public_key"])
    named = http.post("/v1/peers", json={"public_key": new_key(), "allowed_ips": ["10.21.0.2/32"], "name": "first"})
    assert (problem(named), fields(named)) == ((409, "peer-exists"), ["name"])
    overlap = http.post("/v1/peers", json={"public_key": new_key(), "allowed_ips": ["10.21.0.0/24"]})
    assert (problem(overlap), fields(overlap)) == ((409, "address-conflict"), ["allowed_ips"])


def test_what_is_no_request_of_this_api(api: Api) -> None:
    http = api.local
    assert problem(http.get("/v2/peers")) == (404, "no-such-path")
    refused = http.put("/v1/peers")
    assert problem(refused) == (405, "method-not-allowed")
    assert refused.headers["allow"] == "DELETE, GET, POST"
    assert problem(http.post("/v1/peers", content=b"x=1")) == (415, "unsupported-media-type")
    assert problem(http.post("/v1/peers", json={"name": "x" * 2_000_000})) == (413, "too-large")
    for text in (b"{", b"[" * 100_000):
        answer = http.post("/v1/peers", content=text, headers={"Content-Type": "application/json"})
        assert problem(answer) == (400, "malformed")
    assert problem(http.get("/v1/status")) == (503, "no-gateway")
    assert problem(http.get("/v1/feed")) == (503, "no-gateway")


# --- tags ----------------------------------------------------------------------------------------------------------


def test_tags(api: Api) -> None:
    http = api.local
    body = {"public_key": new_key(), "allowed_ips": ["10.22.0.1/32"], "name": "tagged"}
    tag = http.post("/v1/peers", json=body).headers["etag"]
    assert http.get("/v1/peers/tagged", headers={"If-None-Match": f'W/{tag}, "x"'}).status_code == 304
    psk = base64.b64encode(bytes(31) + b"1").decode()
    changed = http.patch("/v1/peers/tagged", json={"preshared_key": psk}, headers={"If-Match": tag})
    assert changed.status_code == 200
    new = changed.headers["etag"]
    other = http.patch("/v1/peers/tagged", json={"preshared_key": base64.b64encode(bytes(32)).decode()})
    assert len({tag, new, other.headers["etag"]}) == 3
    for answer in (
        http.patch("/v1/peers/tagged", json={"keepalive": 5}, headers={"If-Match": tag}),
        http.post("/v1/peers/tagged/rotate", headers={"If-Match": tag}),
        http.delete("/v1/peers/tagged", headers={"If-Match": tag}),
    ):
        assert problem(answer) == (412, "precondition-failed")
    now = other.headers["etag"]
    secret = http.get("/v1/peers/tagged", params={"preshared_key": "true"}, headers={"If-None-Match": now})
    assert secret.status_code == 200  # the other form of it
    assert secret.json()["preshared_key"] == base64.b64encode(bytes(32)).decode()
    assert http.delete("/v1/peers/tagged", headers={"If-Match": now}).status_code == 204


def test_of_two_changes_to_one_tag_one_counts(api: Api) -> None:
    key = new_key()
    tag = api.local.post("/v1/peers", json={"public_key": key, "allowed_ips": ["10.23.0.1/32"]}).headers["etag"]
    clients, barrier = [api.local for _ in range(4)], threading.Barrier(4)

    def change(number: int) -> int:
        barrier.wait()
        return clients[number].patch(url(key), json={"keepalive": number + 1}, headers={"If-Match": tag}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(change, range(4))) == [200, 412, 412, 412]


# --- answers that are given again ------------------------------------------------------------------------------------


def test_a_request_that_is_sent_again_is_answered_again(api: Api) -> None:
    http, headers = api.local, {"Idempotency-Key": "make-dora"}
    first = http.post("/v1/peers", json={"name": "dora"}, headers=headers)
    again = http.post("/v1/peers", json={"name": "dora"}, headers=headers)
    assert first.json() | {"private_key": None, "config": None} == again.json()
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert problem(http.post("/v1/peers", json={"name": "eve"}, headers=headers)) == (422, "idempotency-key-reused")

    path = url(first.json()["public_key"]) + "/rotate"
    rotated = http.post(path, headers={"Idempotency-Key": "rotate-dora"})
    again = http.post(path, headers={"Idempotency-Key": "rotate-dora"})  # the handle's key is gone by now
    assert rotated.json()["public_key"] == again.json()["public_key"] == http.get("/v1/peers/dora").json()["public_key"]
    for secret in (first.json()["private_key"], rotated.json()["private_key"]):
        raw, kept = base64.b64decode(secret), api.kept()
        for form in (secret.encode(), raw, raw.hex().encode()):
            assert form not in kept
    assert first.json()["private_key"] not in api.log()


def test_of_many_at_once_with_one_key_one_is_done(api: Api) -> None:
    clients, barrier = [api.local for _ in range(6)], threading.Barrier(6)

    def make(client: httpx.Client) -> httpx.Response:
        barrier.wait()
        return client.post("/v1/peers", json={"name": "frida"}, headers={"Idempotency-Key": "make-frida"})

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(make, clients))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["public_key"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 5


def test_a_killed_server_answers_again_after_its_restart(own: Callable[..., Api]) -> None:
    server = own()
    first = server.local.post("/v1/peers", json={"name": "gina"}, headers={"Idempotency-Key": "k"}).json()
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    again = own().local.post("/v1/peers", json={"name": "gina"}, headers={"Idempotency-Key": "k"})
    assert again.json()["public_key"] == first["public_key"]
    assert again.headers["idempotency-replayed"] == "true"


# --- many ---------------------------------------------------------------------------------------------------------


def lines(numbers: range, octet: int) -> list[str]:
    return [
        json.dumps({"public_key": new_key(), "allowed_ips": [f"10.{octet}.{n >> 8}.{n & 255}/32"]}) for n in numbers
    ]


def test_import_and_export(own: Callable[..., Api]) -> None:
    http = own().local
    headers = {"Content-Type": "application/x-ndjson"}
    good = lines(range(3000), 30)
    text = "\n".join(good) + "\n"
    done = http.post("/v1/peers/import", content=iter([text[:5000].encode(), text[5000:].encode()]), headers=headers)
    assert done.json() == {"added": 3000, "present": 0, "refused": 0, "bad": []}
    assert http.post("/v1/peers/import", content=text, headers=headers).json()["present"] == 3000

    more = [*lines(range(2), 31), "nonsense", good[0].replace("10.30.0.0", "10.30.0.1")]
    bad = http.post("/v1/peers/import", content="\n".join(more), headers=headers)
    assert (problem(bad), fields(bad)) == ((422, "invalid-value"), ["line 3", "line 4"])
    assert http.get("/v1/count").json() == {"count": 3000}
    key = {**headers, "Idempotency-Key": "import"}
    left = http.post("/v1/peers/import", params={"skip_bad": "true"}, content="\n".join(more), headers=key)
    assert (left.json()["added"], left.json()["refused"]) == (2, 2)
    assert [each["line"] for each in left.json()["bad"]] == [3, 4]
    again = http.post("/v1/peers/import", params={"skip_bad": "true"}, content="\n".join(more), headers=key)
    assert again.json() == left.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = http.post("/v1/peers/import", params={"skip_bad": "true"}, content="\n".join(more[:2]), headers=key)
    assert problem(other) == (422, "idempotency-key-reused")

    http.post("/v1/peers", json={"name": "k", "preshared_key": base64.b64encode(bytes(32)).decode()})
    with http.stream("GET", "/v1/peers/export") as export:
        assert export.headers["content-type"] == "application/x-ndjson"
        out = [json.loads(line) for line in export.iter_lines()]
    assert len(out) == 3003
    assert not any("preshared_key" in each for each in out)
    secret = http.get("/v1/peers/export", params={"preshared_keys": "true"}).text
    assert secret.count(base64.b64encode(bytes(32)).decode()) == 1


LINES = {"Content-Type": "application/x-ndjson"}


def test_the_first_bad_lines_of_an_import_are_told(api: Api) -> None:
    many = api.local.post("/v1/peers/import", headers=LINES, content="nonsense\n" * 50)
    assert problem(many) == (422, "invalid-value")
    assert fields(many) == [f"line {number}" for number in range(1, 21)]
    assert "19 more bad lines are in `errors`; nothing was registered" in many.json()["detail"]


def test_an_import_merges_names_and_labels_if_asked(api: Api) -> None:
    key = new_key()
    body = json.dumps({"public_key": key, "name": "merged", "labels": {"team": "infra"}})
    assert (
        api.local.post("/v1/peers/import", headers=LINES, content=json.dumps({"public_key": key})).json()["added"] == 1
    )
    assert problem(api.local.post("/v1/peers/import", headers=LINES, content=body))[0] == 422
    done = api.local.post("/v1/peers/import", params={"update": "true"}, headers=LINES, content=body).json()
    assert done == {"added": 0, "present": 0, "updated": 1, "refused": 0, "bad": []}
    shown = api.local.get(url(key)).json()
    assert (shown["name"], shown["labels"]) == ("merged", {"team": "infra"})


def test_the_gateway_is_no_peer(api: Api) -> None:
    own, key = {"public_key": GATEWAY_KEY, "allowed_ips": ["10.9.0.9"]}, new_key()
    answers = [
        api.local.post("/v1/peers", json=own),
        api.local.post("/v1/peers/import", headers=LINES, content=json.dumps(own)),
    ]
    assert api.local.post("/v1/peers", json={"public_key": key, "name": "rotated"}).status_code == 201
    answers.append(api.local.post("/v1/peers/rotated/rotate", json={"public_key": GATEWAY_KEY}))
    for answer in answers:
        assert problem(answer) == (422, "invalid-value")
        assert "is the gateway's own" in answer.json()["detail"]


def test_a_key_in_a_path_is_written_in_one_way(api: Api) -> None:
    """The bits behind a key's 256 are none of it, so that no two paths are one peer's."""
    key = str(PublicKey(bytes(31) + b"\x00"))  # ends with A=
    assert api.local.post("/v1/peers", json={"public_key": key, "name": "zero"}).status_code == 201
    assert api.local.get(url(key)).status_code == 200
    assert problem(api.local.get(f"{url(key)[:-1]}B")) == (404, "no-such-peer")
    assert api.local.delete(url(key)).status_code == 204


def test_a_removed_peers_claim_is_there_when_it_is_added_again_and_is_forgotten_by_its_key(api: Api) -> None:
    http, key = api.local, new_key()
    body = {"name": "carol", "public_key": key}
    assert http.post("/v1/peers", json=body).status_code == 201
    claim = Claim(PublicKey.parse(key), Tai64n.from_unix(1e9), "gw1", Endpoint.parse("192.0.2.1:5"), 1e9)
    with api.registry() as registry:
        registry.save_claims([claim])
    assert http.delete("/v1/peers/carol").status_code == 204
    assert http.get(f"{url(key)}/claim").json()["claim"]["gateway"] == "gw1"
    assert problem(http.get("/v1/peers/carol/claim")) == (404, "no-such-peer")
    assert http.post("/v1/peers", json=body).status_code == 201
    shown = http.get("/v1/peers/carol/claim").json()["claim"]
    assert (shown["timestamp"], shown["inferred"]) == (str(claim.timestamp), False)
    assert http.delete("/v1/peers/carol").status_code == 204
    assert http.delete(f"{url(key)}/claim").json()["forgotten"] is True
    assert problem(http.delete(f"{url(key)}/claim")) == (404, "no-such-peer")
