"""What a gateway on kernel WireGuard withstands; what does not concern the kernel is told on wireguard-go."""

from __future__ import annotations

from tests.contracts.gateway_drift import DriftContract
from tests.contracts.gateway_foreign import ForeignContract
from tests.contracts.gateway_replays import ReplaysContract
from tests.contracts.gateway_revocation import RevocationContract
from tests.contracts.gateway_telling import TellingContract
from tests.contracts.gateway_unseen import UnseenContract


class TestReplaysOnKernelWireGuard(ReplaysContract):
    pass


class TestUnseenOnKernelWireGuard(UnseenContract):
    pass


class TestRevocationOnKernelWireGuard(RevocationContract):
    pass


class TestDriftOnKernelWireGuard(DriftContract):
    pass


class TestForeignPeersOnKernelWireGuard(ForeignContract):
    pass


class TestTellingOnKernelWireGuard(TellingContract):
    pass
