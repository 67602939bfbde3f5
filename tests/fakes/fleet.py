"""A gateway's side of a fleet, in memory. tests/contracts/fleet_side.py holds it and the real one to the same."""

from __future__ import annotations

import os
from collections.abc import Sequence

from wgjit.errors import StoreError
from wgjit.model import Claim, Endpoint, Holding, OtherGateway, PublicKey, Registration, Removed


class FakeFleet:
    """Implements `wgjit.stores.base.Fleet`."""

    def __init__(self) -> None:
        self.said: list[Claim | Holding] = []
        """Everything that was said, in order."""
        self.arrived: list[Holding] = []
        """What other gateways hold, in the order of arrival."""
        self.answers: dict[PublicKey, Registration | Removed | StoreError] = {}
        """What the registry of record has, or how it fails."""
        self.held: dict[Endpoint, list[Registration]] = {}
        """Who is held where."""
        self.behind = False
        self.late: float | None = 0.0
        self.offset: float | None = None
        self.failure: StoreError | None = None
        """Raised by `say` while it is set."""
        self.residents = 0
        self.draining = False
        self.gateways: list[OtherGateway] = []
        """The other gateways."""
        self.troubled: StoreError | None = None
        self.taken: StoreError | None = None
        self.keys: list[str] = []
        """Gateways with another private key."""
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def start(self) -> None:
        pass

    def say(self, claims: Sequence[Claim], holdings: Sequence[Holding]) -> None:
        if self.failure is not None:
            raise self.failure
        self.said += [*claims, *holdings]

    def hear(self, after: int, limit: int = 1000) -> tuple[list[Holding], int]:
        if limit == 0:
            return [], len(self.arrived)
        heard = self.arrived[after : after + limit]
        return heard, after + len(heard)

    def held_at(self, endpoint: Endpoint) -> list[Registration]:
        if self.failure is not None:
            raise self.failure
        return self.held.get(endpoint, [])

    def held_elsewhere(self, after: PublicKey | None, limit: int = 1000) -> tuple[list[Endpoint], PublicKey | None]:
        if self.failure is not None:
            raise self.failure
        found = sorted(
            (one.peer.public_key, endpoint) for endpoint, registrations in self.held.items() for one in registrations
        )
        rest = [(key, endpoint) for key, endpoint in found if after is None or key > after]
        return [endpoint for _, endpoint in rest[:limit]], rest[limit - 1][0] if len(rest) >= limit else None

    def ask(self, key: PublicKey) -> Registration | Removed | None:
        answer = self.answers.get(key)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def is_behind(self) -> bool:
        return self.behind

    def lag(self) -> float | None:
        return self.late

    def clock_offset(self) -> float | None:
        return self.offset

    def fileno(self) -> int:
        return self._event

    def read(self) -> bool:
        try:
            return os.eventfd_read(self._event) > 0
        except BlockingIOError:
            return False

    def news(self) -> None:
        """Something has come."""
        os.eventfd_write(self._event, 1)

    def set_residents(self, count: int) -> None:
        self.residents = count

    def set_draining(self, draining: bool) -> None:
        self.draining = draining

    def others(self) -> list[OtherGateway]:
        return self.gateways

    def trouble(self) -> StoreError | None:
        return self.troubled

    def name_taken(self) -> StoreError | None:
        return self.taken

    def other_keys(self) -> list[str]:
        return self.keys
