"""`wgjit token`: a token is shown once, told without its secret, and worth nothing when revoked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run, bytes_of


def test_the_token_is_printed_once_and_kept_nowhere(wgjit: Run, store: Path) -> None:
    status, text, err = wgjit("token", "create", "portal", "--scope", "write")
    assert (status, err) == (0, "")
    token = text.strip()
    secret = token.split("_", 2)[2]  # wgjit_, the public part, the secret: base64url, which may have another _
    assert len(secret) >= 32
    assert secret not in wgjit("token", "list")[1] + wgjit("token", "list", "--json")[1]
    assert b"portal" in bytes_of(store)
    assert secret.encode() not in bytes_of(store)


def test_list_says_what_each_may_and_until_when(wgjit: Run, store: Path) -> None:
    assert wgjit("token", "create", "portal", "--scope", "write", "--expires", "90d", "--rate", 5)[0] == 0
    assert wgjit("token", "create", "grafana\x1b[2J", "--scope", "read")[0] != 0, "a name that a terminal would obey"
    made = json.loads(wgjit("token", "create", "grafana", "--scope", "read", "--json")[1])
    assert made["token"]
    rows = wgjit("token", "list")[1].splitlines()
    portal = next(row for row in rows if "portal" in row)
    assert "write" in portal
    assert portal.endswith("5/s")
    assert "expires never" not in portal
    assert "expires never" in next(row for row in rows if "grafana" in row)
    listed = {line["name"]: line for line in map(json.loads, wgjit("token", "list", "--json")[1].splitlines())}
    assert listed.keys() == {"portal", "grafana"}
    assert {**made, "token": None} == {**listed["grafana"], "token": None}


@pytest.mark.parametrize("by", ["name", "id"])
def test_who_is_revoked_is_listed_as_such_and_its_name_stays_taken(wgjit: Run, store: Path, by: str) -> None:
    made = json.loads(wgjit("token", "create", "portal", "--scope", "admin", "--json")[1])
    assert wgjit("token", "revoke", made[by]) == (0, f"revoked portal ({made['id']})\n", "")
    assert "revoked" in wgjit("token", "list")[1]
    status, out, err = wgjit("token", "create", "portal", "--scope", "read")
    assert (status, out) == (1, "")
    assert "portal" in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--scope", "root"], "root"),
        (["--scope", "read", "--expires", "soon"], "soon"),
        (["--scope", "read", "--rate", "-1"], "rate"),
        ([], "--scope"),
    ],
)
def test_a_mistake_names_the_field_and_makes_no_token(wgjit: Run, store: Path, words: list[str], named: str) -> None:
    status, out, err = wgjit("token", "create", "portal", *words)
    assert status != 0
    assert out == ""
    assert named in err
    wgjit("token", "create", "other", "--scope", "read")
    assert "portal" not in wgjit("token", "list")[1]


def test_nobody_to_revoke(wgjit: Run, two: Path) -> None:
    status, out, err = wgjit("token", "revoke", "nobody")
    assert (status, out) == (1, "")
    assert "nobody" in err
