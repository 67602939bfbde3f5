"""The status that a running gateway gives on its control socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """A gateway's status. A field that is None does not apply and is left out of the JSON form.

    Counters count since the start of the daemon. docs/FEED.md explains their words.
    """

    interface: str
    public_key: str | None = None
    """The gateway's public key, base64. None while the gateway waits for an interface that it has never served."""
    listen_port: int | None = None
    delivery: str | None = None
    """How the gateway completes first handshakes, a word of `model.Delivery`."""
    delivery_why: str | None = None
    """The reason for this delivery, for people."""
    store: str | None = None
    """The registry: a file's path or a service's address."""
    process: int | None = None
    """The daemon's process id."""
    residents: int = 0
    """Peers on the interface."""
    holding: int | None = None
    """Residents that this gateway of a fleet holds. None without a fleet."""
    draining: bool | None = None
    """Whether this gateway of a fleet takes over no clients, since it is to leave. None without a fleet."""
    unhealthy: Mapping[str, str] | None = None
    """The checks of its health that fail, and why, for people. None if it is healthy."""
    calls_held: int | None = None
    """Calls (initiations of WireGuard's own) that a gateway of a fleet has held back, since the client may have moved
    to another gateway. None if calls are not held back."""
    routes: Mapping[str, int] | None = None
    """Routes for residents: how many are wanted and there, wait, fail, were put back and so on (docs/ROUTING.md). None
    if `routes.mode` is off."""
    waiting_for: str | None = None
    """What the gateway waits for before it can serve, for people. None while it serves."""
    waiting: int | None = None
    """Packets that are still being handled."""
    sheltered: int | None = None
    """Number of prefixes with registered addresses that the placeholder owns."""
    decisions: Mapping[str, int] | None = None
    refusals: Mapping[str, int] | None = None
    deliveries: Mapping[str, int] | None = None
    flips: Mapping[str, int] | None = None
    arrivals: Mapping[str, int] | None = None
    departures: Mapping[str, int] | None = None
    said: Mapping[str, int] | None = None
    """Holdings that were said to the fleet, by reason. None without a fleet."""
    takeover: Mapping[str, Any] | None = None
    """How this gateway takes over clients that the network leads here. `off` says why it does not, None if it does.
    `shared_with`: the other gateways that have a service address of this one. `known` endpoints of other gateways'
    clients, `seen` and `lost` reports of their data. None without takeover.addresses, or where no filter can report
    data."""
    takeovers: Mapping[str, int] | None = None
    """What became of such data, by outcome."""
    troubles: Mapping[str, int] | None = None
    """Trouble that looks like health, by kind: how often the firewall's rules were gone (rules_gone), residents that
    another program took out (vanished), peers that never completed a handshake (never_completed), initiations over
    their source's limit (over_source_rate), packets that passed unseen (queue_overran)."""
    troubled_by: Mapping[str, str] | None = None
    """Those of the last ten minutes, or that go on: a sentence each, for people. None if there are none."""
    pins_absent: Mapping[str, int] | None = None
    """Pinned peers that cannot be in the interface now, by the reason: conflict, full, device_failed. None if all are
    there."""
    put_back: int | None = None
    """How often another program put a revoked peer into the interface again."""
    faults: Mapping[str, int] | None = None
    """Faults by the part that failed: store, device, inject, capture, heartbeat, registry, core,
    fleet, record, confirmations, restraint, routes, routes_lost, strays."""
    captured: int | None = None
    """Packets that the capture delivered."""
    capture_dropped: int | None = None
    """Packets that passed unseen: the queue was full, or their source sent more than the rules let into it."""
    feed_dropped: int | None = None
    """Records that listeners of the feed lost because they were too slow."""
    registry: Mapping[str, Any] | None = None
    """Figures of a registry that is a service; docs/REMOTE.md explains the words."""
    log_lines_lost: int = 0
    """Lines of the log that could not be written at once."""

    def as_dict(self) -> dict[str, Any]:
        """The form for programs: what `wgjit status --json` prints."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GatewayStatus:
        """Read the form for programs. Additional fields of a newer gateway are ignored.

        Raises KeyError if `values` names no interface, since then it is no status.
        """
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**{"interface": values["interface"], **known})
