"""What people do with the registry of record reaches each gateway of a fleet, and people are told what gateways do."""

from __future__ import annotations

import pytest

from bench.roamer import Roamer
from lab.fleet.site import Fleet
from lab.gateway import WGJIT
from lab.netns import run
from tests.contracts.floating import holder
from tests.contracts.gateway_site import LONG, seamless, wait_for


class FloatingRegistryContract:
    """Bound by a module's `fleet`, two gateways that run."""

    def test_a_peer_that_was_just_added_is_let_in(self, fleet: Fleet) -> None:
        """The replica does not have it yet, so the registry of record is asked. A busy engine may be too late."""
        b = fleet.members[1]
        times = [fleet.client(b, known=False).first_ping(b.inside, LONG) for _ in range(3)]
        assert None not in times
        assert any(map(seamless, times))

    @pytest.mark.parametrize("by", ["psql", "command"])
    def test_a_revocation_reaches_each_gateway(self, fleet: Fleet, by: str) -> None:
        machine = fleet.machine()
        gone = [Roamer(fleet, machine).register() for _ in fleet.members]
        for roamer, member in zip(gone, fleet.members, strict=True):
            assert seamless(roamer.connect(member))
        if by == "psql":
            with fleet.engine.serving.shell(fleet.engine.serving.url(fleet.database)) as shell:
                keys = [bytes(roamer.public_key) for roamer in gone]
                shell.execute("DELETE FROM wgjit.peers WHERE public_key = ANY(%s)", (keys,))
        else:
            url = fleet.engine.serving.url(fleet.database)
            for roamer in gone:
                run(*WGJIT, "peer", "remove", str(roamer.public_key), env={"WGJIT_STORE_URL": url})
        for roamer, member in zip(gone, fleet.members, strict=True):
            assert member.let_go(roamer.public_key, LONG) is not None
            assert roamer.connect(member, timeout=0.5) is None

    def test_gateways_and_holders_are_told(self, fleet: Fleet) -> None:
        a, b = fleet.members
        client = fleet.client(a)
        assert seamless(client.first_ping(a.inside))
        wait_for(lambda: holder(fleet, client) == "a")
        environment = {"WGJIT_STORE_URL": fleet.engine.serving.url(fleet.database)}
        where = run(*WGJIT, "peer", "where", client.name, env=environment)
        assert "a" in where
        assert "172." in where, "the client's endpoint"
        table = run(*WGJIT, "gateways", env=environment)
        for member in (a, b):
            (line,) = [line for line in table.splitlines() if line.startswith(f"{member.name} ")]
            assert member.address in line
