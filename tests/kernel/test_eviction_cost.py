"""What the way out of the kernel rests on: that taking a peer's allowed IPs away ends its session at once, and that a
removal is one message for as many as leave together.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.netns import Lab
from lab.wireguard import Client, WireGuard
from tests.contracts.device import crowd, told
from wgjit.core.residents.removals import MOST
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.kernel.messages import encode_changes
from wgjit.model import PeerChange, PublicKey

PORT = 51820
INSIDE, OUTSIDE = "10.8.0.1", "10.8.0.2"


class Line:
    """A gateway's interface, and a client with a session."""

    def __init__(self, lab: Lab) -> None:
        self.gateway, machine = lab.namespace("gw"), lab.namespace("c")
        lab.link(self.gateway, machine, ["10.9.0.1/24"], ["10.9.0.2/24"])
        self.server = WireGuard(self.gateway, [f"{INSIDE}/16"], listen_port=PORT, backend="kernel")
        self.client = Client(
            machine, self.server.public_key, f"10.9.0.1:{PORT}", [f"{OUTSIDE}/32"], ["10.8.0.0/16"], backend="kernel"
        )
        self.server.add_peer(self.client.public_key, [f"{OUTSIDE}/32"])
        self.device = self.gateway.call(KernelDevice, self.server.name)

    def told(self) -> set[PublicKey]:
        return set(self.gateway.call(told, self.device))

    def strip(self) -> None:
        self.device.apply([PeerChange(self.client.public_key, update_only=True, allowed_ips=())])


@pytest.fixture
def line() -> Iterator[Line]:
    with Lab() as lab:
        line = Line(lab)
        yield line
        line.device.close()
        line.server.clear()


def test_without_allowed_ips_a_session_passes_nothing_either_way(line: Line) -> None:
    assert line.client.first_ping(INSIDE) is not None
    assert line.gateway.ping(OUTSIDE) is not None
    before = line.server.peer(line.client.public_key)
    line.strip()
    assert line.client.ping(INSIDE, timeout=0.5) is None
    with pytest.raises(OSError, match="key"):  # ENOKEY: no peer has this address
        line.gateway.ping(OUTSIDE, timeout=0.5)
    after = line.server.peer(line.client.public_key)
    assert after.tx_bytes == before.tx_bytes
    assert after.allowed_ips == ()
    line.server.add_peer(line.client.public_key, [f"{OUTSIDE}/32"])
    assert line.client.ping(INSIDE) is not None, "the session itself was there all the time"


def test_a_handshake_without_allowed_ips_completes_and_passes_nothing(line: Line) -> None:
    """So the last handshake of a peer on its way out is no sign of life."""
    line.strip()
    assert line.client.first_ping(INSIDE, timeout=1.0) is None
    assert line.client.latest_handshake()
    assert line.server.peer(line.client.public_key).last_handshake


def test_an_update_brings_nobody_back(line: Line) -> None:
    line.server.remove_peer(line.client.public_key)
    line.strip()
    assert line.server.peers() == {}


def test_a_batch_of_removals_is_one_message(line: Line) -> None:
    """The kernel holds its locks for a message: an install waits for one batch, never for more."""
    leaving = crowd(MOST)
    line.device.apply(leaving)
    assert len(line.told()) == MOST + 1
    removals = [PeerChange(change.public_key, remove=True) for change in leaving]
    assert len(list(encode_changes(line.device.name, removals))) == 1
    line.device.apply(removals)
    assert line.told() == {line.client.public_key}
