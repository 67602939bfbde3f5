"""The checks of a gateway's health: what a client needs of it, not only that a process runs.

All checks are cheap and made when somebody asks; only the way inside is tried beforehand (`inside`). A gateway whose
loop hangs does not answer at all, and who asks takes that for unhealthy.

What all gateways of a fleet would fail at once is no check by default, above all the loss of the registry of record: a
replica serves without it, and if all gateways were to withdraw, nobody would serve.
"""

from __future__ import annotations

from collections.abc import Iterator

from wgjit.config.settings import HealthSettings
from wgjit.daemon.faults import Faults
from wgjit.drivers.wireguard.listening import why_down
from wgjit.errors import WgjitError
from wgjit.stores.base import Fleet, Store

LATELY = 5.0
"""Seconds for which a fault of something that is done each second counts."""

RARELY = 10.0
"""Seconds for which a fault of the device counts, which is not asked each second."""


def failing(interface: str, store: Store, faults: Faults, settings: HealthSettings) -> Iterator[tuple[str, str]]:
    """The checks that fail, and why: all but those that need more than these values."""
    if (why := why_down(interface) or faults.lately("device", RARELY)) is not None:
        yield "interface", why
    if (why := faults.lately("heartbeat", LATELY) or faults.lately("capture", LATELY)) is not None:
        yield "capture", why
    if (why := faults.lately("core", LATELY)) is not None:
        yield "core", why
    if store.fleet is not None:
        yield from _fleet(store.fleet, settings)
        return
    try:
        store.last_change()
    except WgjitError as error:
        yield "registry", error.told


def _fleet(fleet: Fleet, settings: HealthSettings) -> Iterator[tuple[str, str]]:
    behind, trouble = fleet.lag(), fleet.trouble()
    if behind is None:
        if trouble is not None:  # what the replica lacks cannot be asked for
            yield "replica", f"is not whole, and the registry of record cannot be asked: {trouble.told}"
    elif settings.max_lag is not None and behind > settings.max_lag:
        yield "replica", f"is {behind:.0f} s behind, more than health.max_lag ({settings.max_lag:g} s)"
    offset = fleet.clock_offset()
    if offset is not None and settings.max_clock_offset and abs(offset) > settings.max_clock_offset:
        way = "behind" if offset > 0 else "ahead of"
        yield "clock", f"is {abs(offset):.1f} s {way} the database's; run NTP on both (health.max_clock_offset)"
    if (taken := fleet.name_taken()) is not None:
        yield "name", taken.told
