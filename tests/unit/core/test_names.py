"""The feed keeps a resident's name: its knocks are not looked up, and people know their clients by names."""

from __future__ import annotations

import pytest

from tests.unit.core.conftest import Client, Stage
from tests.unit.core.test_gateway import told
from wgjit.core.vocabulary.events import DeviceRead, FollowUpDue, RegistryChanged
from wgjit.model import DevicePeer


def rekey(stage: Stage, client: Client) -> str | None:
    """The name in the record of a resident's next knock."""
    stage.wait(120)
    stage.arrive(client.packet(stage.wall))
    return told(stage.hear(FollowUpDue(stage.numbers))).name


@pytest.fixture
def resident(stage: Stage, client: Client) -> Client:
    stage.install(client)
    return client


def test_a_resident_knocks_under_its_name(stage: Stage, resident: Client) -> None:
    assert rekey(stage, resident) == "client 1"


@pytest.mark.parametrize("name", ["phone", None])
def test_a_new_name_counts_from_the_next_knock(stage: Stage, resident: Client, name: str | None) -> None:
    stage.hear(RegistryChanged({resident.key: resident.registration(name=name)}))
    assert rekey(stage, resident) == name


def test_who_was_there_before_the_gateway_has_a_name_once_the_registry_has_told(stage: Stage, client: Client) -> None:
    stage.hear(DeviceRead(stage.monotonic, [DevicePeer(client.key, client.peer.allowed_ips)]))
    assert rekey(stage, client) is None, "a peer of which nothing is known"
    stage.hear(RegistryChanged({client.key: client.registration()}))
    assert rekey(stage, client) == "client 1"
