"""`wgjit claim`: what it shows, what it forgets, and what a gateway hears of it."""

import json
from pathlib import Path

import pytest

from lab.registry import opened
from tests.contracts.store import claim, inferred, key
from tests.unit.cli.conftest import K1, K2, K3, Run, is_untouched
from wgjit.model import ChangeKind

SUMMARY = "2020-09-13T12:26:40.500000000Z at gateway gw1, from [2001:db8::1]:4000"


@pytest.fixture
def proven(two: Path) -> Path:
    """alice was proven, bob was not."""
    with opened(two) as registry:
        registry.save_claims([claim(1, 1_600_000_000.5, "gw1", "[2001:db8::1]:4000")])
    return two


@pytest.mark.parametrize("handle", ["alice", K1])
def test_reset_forgets_it_and_says_what(wgjit: Run, proven: Path, handle: str) -> None:
    assert wgjit("claim", "reset", handle) == (0, f"forgot the claim of alice ({K1}): {SUMMARY}\n", "")
    with opened(proven, read_only=True) as registry:
        found = registry.lookup(key(1))
        assert found is not None
        assert found.claim is None
        assert [(c.kind, c.public_key) for c in registry.changes(0)] == [(ChangeKind.UPDATED, key(1))]
    assert wgjit("claim", "reset", handle) == (0, f"alice ({K1}) has no claim; nothing to forget\n", "")


def test_show(wgjit: Run, proven: Path) -> None:
    status, out, err = wgjit("claim", "show", "alice")
    assert (status, err) == (0, "")
    assert dict(map(str.strip, line.split(":", 1)) for line in out.splitlines()) == {
        "peer": f"alice ({K1})",
        "timestamp": "2020-09-13T12:26:40.500000000Z",
        "gateway": "gw1",
        "endpoint": "[2001:db8::1]:4000",
        "proven at": "2023-11-14T22:13:20Z",
    }
    assert "proven at:  never\n" in wgjit("claim", "show", "bob")[1]
    assert json.loads(wgjit("claim", "show", K2, "--json")[1]) == {"public_key": K2, "claim": None}
    shown = json.loads(wgjit("claim", "show", "alice", "--json")[1])
    assert shown["claim"] == json.loads(wgjit("peer", "show", "alice", "--json")[1])["claim"]
    assert shown["claim"]["gateway"] == "gw1"


@pytest.mark.parametrize("command", ["show", "reset"])
@pytest.mark.parametrize("handle", ["nobody", K3])
def test_no_such_peer(wgjit: Run, proven: Path, command: str, handle: str) -> None:
    who = "peer 'nobody'" if handle == "nobody" else "peer of this public key"
    assert wgjit("claim", command, handle) == (
        1,
        "",
        f"wgjit: no {who} is registered; `wgjit peer list` shows all\n",
    )


@pytest.mark.parametrize("command", ["show", "reset"])
def test_no_registry_is_made(wgjit: Run, store: Path, command: str) -> None:
    status, out, err = wgjit("claim", command, "alice")
    assert (status, out) == (1, "")
    assert f"registry {store}: no such file" in err
    assert is_untouched(store)


def test_reset_for_programs(wgjit: Run, two: Path) -> None:
    with opened(two) as registry:
        registry.save_claims([claim(1, 1_600_000_000.5, "gw1")])
    forgotten = json.loads(wgjit("claim", "reset", "10.8.0.2", "--json")[1])
    assert (forgotten["public_key"], forgotten["forgotten"], forgotten["claim"]["gateway"]) == (K1, True, "gw1")
    assert json.loads(wgjit("claim", "reset", "alice", "--json")[1]) == {
        "public_key": K1,
        "forgotten": False,
        "claim": None,
    }


def test_a_removed_peers_claim_stays_until_it_is_reset_by_its_key(wgjit: Run, proven: Path) -> None:
    assert wgjit("peer", "remove", "alice")[0] == 0
    assert wgjit("claim", "show", "alice")[0] == 1, "the name is free"
    assert f"peer:       {K1} (removed)\ntimestamp:  2020-09-13T12:26:40.5" in wgjit("claim", "show", K1)[1]
    assert json.loads(wgjit("claim", "show", K1, "--json")[1])["claim"]["gateway"] == "gw1"
    assert wgjit("peer", "add", "alice", "--public-key", K1, "--allowed-ips", "10.8.0.2/32")[0] == 0
    assert f"timestamp:  {SUMMARY.split(' ')[0]}\n" in wgjit("claim", "show", "alice")[1], (
        "added again, it has its claim"
    )
    assert wgjit("peer", "remove", "alice", "bob", "--yes")[0] == 0
    assert wgjit("claim", "reset", K1) == (0, f"forgot the claim of {K1} (removed): {SUMMARY}\n", "")
    assert wgjit("claim", "reset", K2) == (0, f"{K2} (removed) has no claim; forgot its removal\n", "")
    for key_ in (K1, K2):
        assert wgjit("claim", "reset", key_)[0] == 1, "nothing is known of it any more"


def test_an_inferred_timestamp_says_so(wgjit: Run, two: Path) -> None:
    with opened(two) as registry:
        registry.save_claims([inferred(1, 1_600_000_000.5, proven=1_500_000_000.0)])
    said = (
        "2020-09-13T12:26:40.500000000Z (inferred from its last handshake; 2017-07-14T02:40:00.000000000Z was proven)"
    )
    assert f"timestamp:  {said}\n" in wgjit("claim", "show", "alice")[1]
    assert json.loads(wgjit("claim", "show", "alice", "--json")[1])["claim"]["inferred"] is True
