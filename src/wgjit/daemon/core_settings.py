"""Makes the core's settings from the configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator

from wgjit.config import Config
from wgjit.core.settings import RouteRule, Settings
from wgjit.model import AllowedIP, Delivery

WATCHFUL = 64
"""With fewer residents than this, the device is read before an install. Ten residents take a third of a millisecond."""

EPOCH = time.time_ns() // 1_000_000
"""The start of this process, Unix milliseconds."""


def core_settings(config: Config, delivery: Delivery, *, store_is_local: bool, fleet: bool = False) -> Settings:
    """The core's settings for a gateway with this delivery."""
    gateway = config.gateway
    return Settings(
        gateway=gateway.name,
        delivery=delivery,
        store_is_local=store_is_local,
        hold_deadline=gateway.hold_deadline,
        max_skew=gateway.max_clock_skew,
        exchanges=gateway.exchange_rate,
        source_rate=gateway.source_rate,
        idle_timeout=gateway.idle_timeout,
        unconfirmed_timeout=gateway.unconfirmed_timeout,
        capacity=gateway.capacity,
        exclusive=gateway.exclusive,
        networks=tuple(_networks(config)),
        watchful=WATCHFUL,
        fleet=fleet,
        epoch=EPOCH if fleet else 0,
        routes=_route_rule(config),
        shared=frozenset(address.packed for address in config.takeover.addresses) if fleet else frozenset(),
    )


def _route_rule(config: Config) -> RouteRule | None:
    routes = config.routes
    if routes.mode == "off":
        return None
    return RouteRule(routes.metric == "claim", tuple(_networks(config)) if routes.skip_covered else ())


def _networks(config: Config) -> Iterator[AllowedIP]:
    yield from (address.network for address in config.interface.addresses)
    yield from config.interface.routes
