"""The lab with the kernel's WireGuard, and what only a guest's kernel can do."""

import pytest

from lab.netns import Lab
from lab.wireguard import Backend
from tests.contracts.lab import LabContract, admit, client_of, gateway_and_client, server


class TestLab(LabContract):
    pass


@pytest.mark.smp
def test_delay_makes_a_first_ping_two_round_trips(lab: Lab, backend: Backend) -> None:
    gateway_end, client_end = lab.namespace("gw"), lab.namespace("c1")
    link = lab.link(gateway_end, client_end, ["10.9.0.1/24"], ["10.9.0.2/24"])
    gateway_end.netem(link.a, delay=0.05)
    client_end.netem(link.b, delay=0.05)
    outside = client_end.ping("10.9.0.1")
    assert outside is not None
    assert outside >= 0.1

    gateway = server(gateway_end, backend)
    client = client_of(gateway, client_end)
    admit(gateway, client)
    first, second = client.first_ping("10.8.0.1"), client.ping("10.8.0.1")
    assert first is not None
    assert second is not None
    assert 0.2 <= first < 0.3
    assert 0.1 <= second < 0.2


def test_netem_loses_everything_if_asked(lab: Lab) -> None:
    gateway, client = gateway_and_client(lab)
    device = f"{lab.prefix}v1"
    gateway.netem(device, loss=1)
    assert client.ping("10.9.0.1", timeout=0.2) is None
    gateway.netem(device)
    assert client.ping("10.9.0.1") is not None
