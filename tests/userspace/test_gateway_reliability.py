"""What a gateway on wireguard-go withstands."""

from __future__ import annotations

from tests.contracts.gateway_drift import DriftContract
from tests.contracts.gateway_faults import StoreFaultsContract
from tests.contracts.gateway_foreign import ForeignContract
from tests.contracts.gateway_replays import ReplaysContract
from tests.contracts.gateway_revocation import RevocationContract
from tests.contracts.gateway_telling import TellingContract
from tests.contracts.gateway_unseen import UnseenContract


class TestReplaysOnWireguardGo(ReplaysContract):
    pass


class TestUnseenOnWireguardGo(UnseenContract):
    pass


class TestRevocationOnWireguardGo(RevocationContract):
    pass


class TestDriftOnWireguardGo(DriftContract):
    pass


class TestStoreFaultsOnWireguardGo(StoreFaultsContract):
    pass


class TestForeignPeersOnWireguardGo(ForeignContract):
    pass


class TestTellingOnWireguardGo(TellingContract):
    pass
