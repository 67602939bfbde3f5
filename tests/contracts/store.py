"""What every registry must do. Subclass `StoreContract`, and give the fixture `registry` (an empty registry)."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.registry import LAB, LabRegistry
from tests.fakes.store import FakeRegistry
from wgjit.errors import AddressConflict, InvalidValue, NoSuchGateway, NoSuchPeer, PeerExists, StoreError
from wgjit.model import (
    LEAST_IDLE_TIMEOUT,
    MOST_IDLE_TIMEOUT,
    NEVER,
    AllowedIP,
    ChangeKind,
    Claim,
    Endpoint,
    Peer,
    PresharedKey,
    PublicKey,
    Registration,
    Removed,
    Tai64n,
    parse_allowed_ip,
)

Kept = LabRegistry | FakeRegistry


def key(number: int) -> PublicKey:
    """A key of its own for each number; greater numbers sort later."""
    return PublicKey(number.to_bytes(4, "big") * 8)


def peer(number: int, *prefixes: str, name: str | None = None) -> Peer:
    return Peer(key(number), tuple(parse_allowed_ip(prefix) for prefix in prefixes), name=name)


def claim(number: int, seconds: float, gateway: str = "gw1", endpoint: str = "192.0.2.1:5000") -> Claim:
    return Claim(key(number), Tai64n.from_unix(seconds), gateway, Endpoint.parse(endpoint), 1_700_000_000.25)


def inferred(number: int, seconds: float, proven: float) -> Claim:
    """A claim that no gateway saw, later than one that was proven."""
    return dataclasses.replace(claim(number, seconds), proven=Tai64n.from_unix(proven))


FULL = Peer(
    key(7),
    tuple(map(parse_allowed_ip, ("10.8.0.7/32", "10.9.0.0/24", "fd00::7/128", "fd00:1::/64"))),
    PresharedKey(bytes(range(32))),
    keepalive=25,
    enabled=False,
    expires_at=2_000_000_000,
    name="alice's phone",
    idle_timeout=3600,
)


class StoreContract:
    """The suite. Each test starts from an empty registry."""

    # --- found, absent ----------------------------------------------------------------------------------------

    def test_a_peer_comes_back_as_it_was_registered(self, registry: Kept) -> None:
        assert registry.add([FULL, peer(1)]) == 2
        assert registry.lookup(FULL.public_key) == Registration(FULL, None)
        assert registry.lookup(key(1)) == Registration(Peer(key(1)), None)
        assert registry.find("alice's phone") == FULL
        assert registry.find(str(FULL.public_key)) == FULL

    def test_absent_is_none_for_a_gateway_and_an_error_for_a_person(self, registry: Kept) -> None:
        registry.add([peer(1)])
        assert registry.lookup(key(2)) is None
        for handle in ("nobody", str(key(2))):
            with pytest.raises(NoSuchPeer, match=r"no peer .* is registered"):
                registry.find(handle)

    def test_peers_are_listed_in_key_order_from_any_key_on(self, registry: Kept) -> None:
        numbers = list(range(1, 2502))  # more than one round of any store
        random.Random(4).shuffle(numbers)
        assert registry.add(peer(number) for number in numbers) == 2501
        assert registry.count() == 2501
        assert [p.public_key for p in registry.every()] == [key(number) for number in range(1, 2502)]
        assert [p.public_key for p in registry.every(after=key(2499))] == [key(2500), key(2501)]
        assert list(registry.every(after=key(2501))) == []

    def test_an_empty_registry(self, registry: Kept) -> None:
        assert registry.add([]) == 0
        assert registry.count() == 0
        assert list(registry.every()) == []
        assert registry.last_change() == 0
        assert registry.changes(0) == []

    # --- refused registrations --------------------------------------------------------------------------------

    def test_a_key_is_registered_once(self, registry: Kept) -> None:
        registry.add([peer(1, name="alice")])
        with pytest.raises(PeerExists, match="registered already as alice") as refused:
            registry.add([peer(2), peer(1)])
        assert refused.value.public_key == key(1)
        assert registry.count() == 1  # all or none
        with pytest.raises(PeerExists, match="registered already"):
            registry.add([peer(3), peer(3)])
        assert registry.count() == 1

    def test_a_name_is_given_once(self, registry: Kept) -> None:
        registry.add([peer(1, name="alice"), peer(2, name="bob")])
        with pytest.raises(PeerExists, match="name 'alice': taken by peer " + re.escape(str(key(1)))):
            registry.add([peer(3, name="alice")])
        with pytest.raises(PeerExists, match="name 'alice'"):
            registry.replace(peer(2, name="alice"))
        registry.replace(peer(2, name="bob"))  # its own name is no conflict
        assert [p.name for p in registry.every()] == ["alice", "bob"]

    @pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\x1b[31m", str(key(9)), "x" * 201])
    def test_a_name_must_be_a_handle(self, registry: Kept, name: str) -> None:
        with pytest.raises(InvalidValue, match="name"):
            registry.add([peer(1), peer(2, name=name)])
        registry.add([peer(1)])
        with pytest.raises(InvalidValue, match="name"):
            registry.replace(peer(1, name=name))
        assert list(registry.every()) == [peer(1)]

    @pytest.mark.parametrize(
        ("held", "wanted"),
        [
            ("10.0.0.5/32", "10.0.0.5/32"),
            ("10.0.0.0/24", "10.0.0.5/32"),
            ("10.0.0.5/32", "10.0.0.0/24"),
            ("10.0.0.0/8", "10.0.0.0/24"),
            ("0.0.0.0/0", "255.255.255.255/32"),
            ("10.0.0.255/32", "10.0.0.0/24"),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff/128"),
            ("::/0", "fd00::/64"),
        ],
    )
    def test_overlaps_are_refused_with_both_names_and_prefixes(self, registry: Kept, held: str, wanted: str) -> None:
        registry.add([peer(1, held, name="alice")])
        with pytest.raises(AddressConflict) as refused:
            registry.add([peer(3), peer(2, wanted, name="bob")])
        text = str(refused.value)
        for part in (
            "alice",
            "bob",
            str(key(1)),
            str(key(2)),
            f"allowed IP {wanted} of bob",
            f"overlaps {held} of alice",
        ):
            assert part in text
        assert refused.value.public_key == key(2)
        assert registry.count() == 1

    @pytest.mark.parametrize("prefix", ["10.0.0.4/32", "10.0.0.6/32", "10.0.1.0/24", "::a00:5/128", "fd00::/8"])
    def test_neighbours_and_the_other_family_do_not_overlap(self, registry: Kept, prefix: str) -> None:
        registry.add([peer(1, "10.0.0.5/32", "9.255.255.0/24")])
        assert registry.add([peer(2, prefix)]) == 1

    def test_overlaps_inside_a_batch_and_inside_a_peer(self, registry: Kept) -> None:
        with pytest.raises(AddressConflict, match="overlaps"):
            registry.add([peer(1, "10.0.0.0/24"), peer(2, "10.0.0.9/32")])
        with pytest.raises(AddressConflict, match="list only the wider"):
            registry.add([peer(1, "10.0.0.0/24", "10.0.0.9/32")])
        assert registry.count() == 0
        registry.add([peer(1, "10.0.0.0/24")])

    def test_an_error_of_the_source_registers_nothing(self, registry: Kept) -> None:
        def source():
            yield peer(1)
            raise InvalidValue("line 2")

        with pytest.raises(InvalidValue, match="line 2"):
            registry.add(source())
        assert registry.count() == 0
        assert registry.add([peer(1)]) == 1

    # --- replace, remove --------------------------------------------------------------------------------------

    def test_replace_writes_every_field(self, registry: Kept) -> None:
        registry.add([peer(7, "10.0.0.1/32", name="old")])
        registry.replace(FULL)
        assert registry.lookup(key(7)) == Registration(FULL)
        registry.replace(peer(7))
        assert registry.lookup(key(7)) == Registration(peer(7))
        registry.add([peer(1, *map(str, FULL.allowed_ips), name=FULL.name)])  # addresses and name are free again

    def test_replace_keeps_the_rules(self, registry: Kept) -> None:
        registry.add([peer(1, "10.0.0.1/32", name="alice"), peer(2, "10.0.0.2/32", name="bob")])
        with pytest.raises(NoSuchPeer):
            registry.replace(peer(3))
        with pytest.raises(AddressConflict, match="alice"):
            registry.replace(peer(2, "10.0.0.2/32", "10.0.0.0/31"))
        with pytest.raises(AddressConflict, match="alice"):
            registry.replace(peer(2, "10.0.0.0/24"))
        assert registry.find("bob") == peer(2, "10.0.0.2/32", name="bob")
        registry.replace(peer(2, "10.0.0.2/31", name="bob"))  # wider, around its own old address
        with pytest.raises(AddressConflict, match="bob"):
            registry.add([peer(4, "10.0.0.3/32")])

    @pytest.mark.parametrize("idle_timeout", [None, NEVER, LEAST_IDLE_TIMEOUT, MOST_IDLE_TIMEOUT])
    def test_every_idle_timeout_comes_back(self, registry: Kept, idle_timeout: int | None) -> None:
        registry.add([FULL, peer(1)])
        wanted = [dataclasses.replace(old, idle_timeout=idle_timeout) for old in (peer(1), FULL)]
        for new in wanted:
            registry.replace(new)
        assert [registry.lookup(new.public_key) for new in wanted] == [Registration(new) for new in wanted]
        assert list(registry.every()) == wanted

    def test_the_pinned_and_enabled_are_listed_in_key_order(self, registry: Kept) -> None:
        def pinned(number: int, **more: bool) -> Peer:
            return dataclasses.replace(peer(number), idle_timeout=NEVER, **more)  # type: ignore[arg-type]

        assert registry.pinned() == []
        registry.add([pinned(3), peer(1), pinned(2), pinned(5, enabled=False), pinned(4)])
        keys = sorted(key(number) for number in (2, 3, 4))
        assert registry.pinned() == keys
        assert registry.pinned(keys[0]) == keys[1:]
        assert registry.pinned(None, 2) == keys[:2]
        assert registry.pinned(keys[-1]) == []

    def test_whatever_pins_a_peer_changes_the_version(self, registry: Kept) -> None:
        pin = dataclasses.replace(peer(1), idle_timeout=NEVER)
        seen = [registry.pinned_version()]
        for change in (
            lambda: registry.add([dataclasses.replace(peer(2), idle_timeout=NEVER), peer(1)]),
            lambda: registry.replace(dataclasses.replace(pin, enabled=False)),
            lambda: registry.replace(pin),
        ):
            change()
            seen.append(registry.pinned_version())
        assert all(before != after for before, after in itertools.pairwise(seen))

    def test_change_works_on_what_is_registered_now(self, registry: Kept) -> None:
        registry.add([FULL, peer(1)])
        wanted = dataclasses.replace(FULL, keepalive=7, idle_timeout=NEVER)
        assert registry.change("alice's phone", lambda old: dataclasses.replace(old, keepalive=7)).keepalive == 7
        assert registry.change(str(key(7)), lambda old: dataclasses.replace(old, idle_timeout=NEVER)) == wanted
        assert registry.find(str(key(7))) == wanted
        assert registry.change("alice's phone", lambda old: old) == wanted
        assert registry.last_change() == 2  # what changes nothing is no change

    def test_change_keeps_the_rules(self, registry: Kept) -> None:
        registry.add([peer(1, "10.0.0.1/32", name="alice"), peer(2, "10.0.0.2/32", name="bob")])
        for values, error in (
            ({"name": "alice"}, PeerExists),
            ({"name": ""}, InvalidValue),
            ({"keepalive": -1}, InvalidValue),
            ({"allowed_ips": (parse_allowed_ip("10.0.0.0/30"),)}, AddressConflict),
            ({"public_key": key(3)}, InvalidValue),
        ):
            with pytest.raises(error):
                registry.change("bob", lambda old, values=values: dataclasses.replace(old, **values))
        with pytest.raises(NoSuchPeer):
            registry.change("carol", lambda old: old)
        assert registry.last_change() == 0
        assert registry.find("bob") == peer(2, "10.0.0.2/32", name="bob")
        registry.change("bob", lambda old: peer(2, "10.0.0.8/29", name="bob"))
        registry.add([peer(3, "10.0.0.2/32")])  # free again
        with pytest.raises(AddressConflict, match="bob"):
            registry.add([peer(4, "10.0.0.9/32")])

    def test_remove_frees_key_name_and_addresses(self, registry: Kept) -> None:
        registry.add([FULL, peer(1, "10.8.0.1/32")])
        registry.remove(key(7))
        assert registry.lookup(key(7)) is None
        with pytest.raises(NoSuchPeer):
            registry.remove(key(7))
        registry.add([FULL])
        assert registry.lookup(key(7)) == Registration(FULL, None)

    # --- what is left of a removed peer -----------------------------------------------------------------------

    def test_a_removed_key_is_remembered_until_it_is_registered_again(self, registry: Kept) -> None:
        registry.add([peer(1), peer(2)])
        assert registry.former(key(1)) is None, "it is registered"
        assert registry.former(key(3)) is None, "never heard of"
        registry.remove(key(1))
        assert registry.former(key(1)) == Removed(key(1))
        registry.add([peer(1)])
        assert registry.former(key(1)) is None
        registry.remove(key(1))
        assert registry.former(key(1)) == Removed(key(1))

    def test_the_claim_of_a_removed_key_stays_grows_and_is_there_when_it_is_added_again(self, registry: Kept) -> None:
        registry.add([peer(1), peer(2)])
        registry.save_claims([claim(1, 1000.0)])
        for number in (1, 2):
            registry.remove(key(number))
        registry.save_claims([claim(1, 999.0), claim(2, 7.0)])
        assert registry.former(key(1)) == Removed(key(1), claim(1, 1000.0))
        assert registry.former(key(2)) == Removed(key(2), claim(2, 7.0))
        registry.save_claims([claim(1, 1001.0)])
        registry.add([peer(1), peer(2)])
        assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 1001.0))
        assert registry.lookup(key(2)) == Registration(peer(2), claim(2, 7.0))

    def test_a_reset_alone_forgets_a_removed_key(self, registry: Kept) -> None:
        registry.add([peer(1), peer(2)])
        registry.save_claims([claim(1, 1000.0)])
        for number in (1, 2):
            registry.remove(key(number))
        newest = registry.last_change()
        assert registry.reset_claim(key(1)) is True
        assert registry.reset_claim(key(2)) is False
        assert [registry.former(key(number)) for number in (1, 2)] == [None, None]
        registry.save_claims([claim(1, 5.0)])
        registry.add([peer(1)])
        assert registry.lookup(key(1)) == Registration(peer(1), None)
        assert registry.last_change() == newest

    def test_a_registry_has_an_identity_that_no_change_changes(self, registry: Kept) -> None:
        before = registry.identity()
        registry.add([peer(1)])
        registry.save_claims([claim(1, 1.0)])
        registry.replace(peer(1, name="alice"))
        registry.remove(key(1))
        assert len(before) >= 16
        assert registry.identity() == before

    # --- claims -----------------------------------------------------------------------------------------------

    def test_the_greatest_timestamp_stays(self, registry: Kept) -> None:
        registry.add([peer(1), peer(2)])
        first, older, same, newer = (
            claim(1, 1000.0),
            claim(1, 999.999999, "gw2"),
            claim(1, 1000.0, "gw3"),
            claim(1, 1000.000001, "gw4", "[fe80::1%3]:6000"),
        )
        registry.save_claims([first, older, same, claim(2, 5.0)])
        assert registry.lookup(key(1)) == Registration(peer(1), first)
        registry.save_claims([newer])
        registry.save_claims([first])
        assert registry.lookup(key(1)) == Registration(peer(1), newer)
        assert registry.lookup(key(2)) == Registration(peer(2), claim(2, 5.0))

    def test_an_inferred_timestamp_gives_way_to_what_was_proven_after_it(self, registry: Kept) -> None:
        registry.add([peer(1)])
        registry.save_claims([claim(1, 1000.0)])
        registry.save_claims([inferred(1, 2000.0, proven=900.0)])
        assert registry.lookup(key(1)) == Registration(peer(1), inferred(1, 2000.0, proven=1000.0))
        registry.save_claims([claim(1, 1000.0), inferred(1, 1999.0, proven=1100.0)])
        assert registry.lookup(key(1)) == Registration(peer(1), inferred(1, 2000.0, proven=1000.0))
        registry.save_claims([claim(1, 1500.0)])
        assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 1500.0))

    def test_claims_come_together_as_they_do_in_a_gateway(self, registry: Kept) -> None:
        @settings(max_examples=60, deadline=None)
        @given(steps=st.lists(st.tuples(st.integers(1, 6), st.none() | st.integers(0, 6)), max_size=8))
        def agrees(steps: list[tuple[int, int | None]]) -> None:
            registry.add([peer(1)])
            known: Claim | None = None
            for timestamp, proven in steps:
                new = claim(1, timestamp) if proven is None else inferred(1, timestamp, min(proven, timestamp))
                known = new.over(known)
                registry.save_claims([new])
                assert registry.lookup(key(1)) == Registration(peer(1), known)
            registry.remove(key(1))
            registry.reset_claim(key(1))

        agrees()

    def test_claims_of_unknown_keys_are_left_out(self, registry: Kept) -> None:
        registry.add([peer(1)])
        registry.save_claims([claim(2, 10.0), claim(1, 10.0)])
        registry.save_claims([])
        assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 10.0))
        registry.add([peer(2)])
        assert registry.lookup(key(2)) == Registration(peer(2), None)

    def test_any_twelve_bytes_are_a_timestamp(self, registry: Kept) -> None:
        registry.add([peer(1)])
        for raw in (bytes(12), b"\x7f" + bytes(11), b"\xff" * 12):
            wanted = dataclasses.replace(
                claim(1, 0.0), timestamp=Tai64n(raw), endpoint=Endpoint.parse("[2001:db8::1]:1")
            )
            registry.save_claims([wanted])
            assert registry.lookup(key(1)) == Registration(peer(1), wanted)

    def test_reset_claim(self, registry: Kept) -> None:
        registry.add([peer(1)])
        assert registry.reset_claim(key(1)) is False
        assert registry.reset_claim(key(2)) is False
        assert registry.last_change() == 0
        registry.save_claims([claim(1, 1e9)])
        assert registry.reset_claim(key(1)) is True
        assert registry.lookup(key(1)) == Registration(peer(1), None)
        registry.save_claims([claim(1, 5.0)])
        assert registry.lookup(key(1)) == Registration(peer(1), claim(1, 5.0))

    # --- the change log ---------------------------------------------------------------------------------------

    def test_updates_removals_and_resets_are_logged_in_order(self, registry: Kept) -> None:
        registry.add([peer(1), peer(2), peer(3)])
        registry.save_claims([claim(1, 1.0), claim(3, 1.0)])
        assert registry.last_change() == 0  # neither a new peer nor a claim is a change
        registry.replace(peer(2, name="bob"))
        registry.remove(key(1))
        registry.reset_claim(key(3))
        wanted = [(1, ChangeKind.UPDATED, key(2)), (2, ChangeKind.REMOVED, key(1)), (3, ChangeKind.UPDATED, key(3))]
        assert [(c.sequence, c.kind, c.public_key) for c in registry.changes(0)] == wanted
        assert [c.sequence for c in registry.changes(1)] == [2, 3]
        assert [c.sequence for c in registry.changes(0, limit=2)] == [1, 2]
        assert registry.changes(3) == []
        assert registry.last_change() == 3

    def test_a_refused_change_is_not_logged(self, registry: Kept) -> None:
        registry.add([peer(1, "10.0.0.1/32"), peer(2)])
        with pytest.raises(AddressConflict):
            registry.replace(peer(2, "10.0.0.1/32"))
        with pytest.raises(NoSuchPeer):
            registry.remove(key(9))
        assert registry.last_change() == 0

    # --- close ------------------------------------------------------------------------------------------------

    def test_close_twice_then_every_call_says_so(self, registry: Kept) -> None:
        registry.close()
        registry.close()
        for call in (lambda: registry.lookup(key(1)), lambda: registry.last_change(), lambda: registry.add([peer(1)])):
            with pytest.raises(StoreError, match="closed"):
                call()

    # --- property: the overlap check against ipaddress --------------------------------------------------------

    def test_overlap_check_agrees_with_brute_force(self, registry: Kept) -> None:
        """Peers in a crowded corner of both families, added, replaced, removed; ipaddress says what must be refused."""

        @settings(max_examples=60, deadline=None)
        @given(
            steps=st.lists(
                st.tuples(verbs, st.integers(0, 5), st.lists(prefixes, max_size=3, unique=True)), max_size=14
            )
        )
        def agrees(steps: list[tuple[str, int, list[AllowedIP]]]) -> None:
            for left in list(registry.every()):
                registry.remove(left.public_key)
            owned: dict[PublicKey, tuple[AllowedIP, ...]] = {}
            for verb, number, wanted in steps:
                target = key(number)
                if verb == "remove":
                    if owned.pop(target, None) is not None:
                        registry.remove(target)
                    continue
                others = [prefix for owner, held in owned.items() if owner != target for prefix in held]
                act = registry.replace if target in owned else lambda newcomer: registry.add([newcomer])
                if any(overlap(a, b) for a, b in itertools.combinations([*others, *wanted], 2)):
                    with pytest.raises(AddressConflict):
                        act(Peer(target, tuple(wanted)))
                else:
                    act(Peer(target, tuple(wanted)))
                    owned[target] = tuple(wanted)
                assert {p.public_key: p.allowed_ips for p in registry.every()} == owned

        agrees()


def overlap(a: AllowedIP, b: AllowedIP) -> bool:
    return a.version == b.version and a.overlaps(b)


verbs = st.sampled_from(["write", "write", "write", "remove"])
prefixes = st.one_of(
    st.builds(
        lambda host, length: ipaddress.ip_network((0x0A000000 + host, length), strict=False),
        st.integers(0, 31),
        st.integers(24, 32),
    ),
    st.builds(
        lambda host, length: ipaddress.ip_network(((0xFD << 120) + host, length), strict=False),
        st.integers(0, 31),
        st.integers(120, 128),
    ),
    st.sampled_from([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]),
)


class PeoplesRegistryContract(StoreContract):
    """A registry that people manage, too. The one in memory has a gateway's side alone."""

    def test_no_gateway_is_listed_before_one_has_written_of_itself(self, registry: LabRegistry) -> None:
        registry.add([peer(1)])
        registry.save_claims([claim(1, 1.0)])
        assert registry.gateways.every() == []
        with pytest.raises(NoSuchGateway, match="'paris'"):
            registry.gateways.forget("paris", by=LAB)
