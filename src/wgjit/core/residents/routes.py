"""Routes for residents: which prefixes are to be routed into the tunnel, so that traffic from inside finds its peer.

    taken, resumed ── PutRoutes            left, moved, in doubt, about to be removed ── TakeRoutes, before all else

A peer has routes while this gateway *holds* it (`holders`); without a fleet, while it is a registered resident. Other
modules only tell which peers have changed (`touch`). After each event `follow` compares what these peers should have
with what they have. So no way into or out of the device can be forgotten, and a route always goes before its peer does.
"""

from __future__ import annotations

from collections.abc import Sequence

from wgjit.core.residents.holders import Holders
from wgjit.core.residents.removals import Removals
from wgjit.core.residents.residency import Residency, Resident
from wgjit.core.settings import RouteRule
from wgjit.core.vocabulary.commands import Command, PutRoutes, RoutesKnown, TakeRoutes
from wgjit.core.vocabulary.told import LeftOut, NoRoute
from wgjit.model import AllowedIP, Endpoint, Holding, PublicKey

FIXED = 1
"""The metric of all routes, if metrics tell nothing. Smaller than those of routing daemons (BIRD 32, FRR 20), since a
gateway that holds a peer must not send its packets to another gateway. Not 0: for IPv6 the kernel makes 1024 of it."""

WORST = 2**32 - 1
"""The greatest metric."""

FEW = 4
"""Prefixes of a peer that are compared with its endpoint at each look, since that takes no longer than to remember."""

UNKNOWN = 0
"""In place of a metric: an earlier process may have made a route. It stays until the registry tells of its peer."""

_Routes = tuple[tuple[AllowedIP, ...], int]
_NONE: _Routes = ((), UNKNOWN)


class Routes:
    """The routes that residents should have. Constant time per peer that changes. Off without a rule."""

    def __init__(self, rule: RouteRule | None, residency: Residency, removals: Removals, holders: Holders) -> None:
        self._rule = rule
        self._residency, self._removals, self._holders = residency, removals, holders
        self._put: dict[PublicKey, _Routes] = {}
        self._changed: dict[PublicKey, None] = {}
        """Peers that may need other routes."""
        self._around: dict[PublicKey, frozenset[AllowedIP]] = {}
        """The prefixes of a peer that contain its own endpoint, of the few peers that have such."""
        self._looked_at: dict[PublicKey, tuple[bytes, tuple[AllowedIP, ...]]] = {}
        """Of peers with many prefixes: the endpoint's address and the prefixes that were last compared."""
        self._unanswered: set[PublicKey] = set()
        """Residents of an earlier process about which the registry has not been heard yet."""
        self._left_out: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        self._commands: list[Command] = []
        if rule is not None:
            residency.on_change(self.touch)
            holders.on_change(self.touch)

    @property
    def left_out(self) -> int:
        """Number of prefixes of held peers that get no route, since it would do harm."""
        return sum(map(len, self._left_out.values()))

    # --- what changes -------------------------------------------------------------------------------------------

    def touch(self, key: PublicKey) -> None:
        """The peer may need other routes."""
        if self._rule is not None:
            self._changed[key] = None

    def at(self, key: PublicKey, endpoint: Endpoint | None, resident: Resident) -> None:
        """The peer has this endpoint. Its packets to the tunnel's outside must not be routed into the tunnel."""
        if self._rule is None or endpoint is None:
            return
        if len(resident.allowed_ips) > FEW:
            looked_at = endpoint.address, resident.allowed_ips
            if self._looked_at.get(key) == looked_at:
                return
            self._looked_at[key] = looked_at
        around = [prefix for prefix in resident.allowed_ips if _contains(prefix, endpoint)]
        if not around and key not in self._around:
            return
        before = self._around.pop(key, None)
        if around:
            self._around[key] = frozenset(around)
        if self._around.get(key) != before:
            self.touch(key)

    def taken_over(self) -> None:
        """The first look at the device is complete. From now on a route for nobody who is in the device may go.

        Peers that the look has found keep the routes of an earlier process until the registry tells of them: their
        sessions may be up, and the registry may take its time.
        """
        if self._rule is None:
            return
        for key, resident in self._residency.items():
            if not resident.registered and resident.allowed_ips:
                self._unanswered.add(key)
                self._put[key] = (resident.allowed_ips, UNKNOWN)
        self._commands.append(RoutesKnown(tuple(p for key in self._unanswered for p in self._put[key][0])))

    def answered(self, key: PublicKey) -> None:
        """The registry has told of this resident, or that it does not know it."""
        if key in self._unanswered:
            self._unanswered.discard(key)
            self.touch(key)

    # --- what follows -------------------------------------------------------------------------------------------

    def follow(self, commands: list[Command]) -> list[Command]:
        """The commands of an event, with those for routes around them: take before all else, put at the end."""
        if self._changed:
            changed, self._changed = self._changed, {}
            commands = self._follow(changed, commands)
        if self._commands:
            commands += self._commands
            self._commands = []
        return commands

    def _follow(self, keys: dict[PublicKey, None], commands: list[Command]) -> list[Command]:
        takes: list[AllowedIP] = []
        puts: list[tuple[AllowedIP, int]] = []
        for key in keys:
            had = self._put.get(key, _NONE)
            if (new := self._wanted(key, had)) == had:
                continue
            if new[0]:
                self._put[key] = new
            else:
                self._put.pop(key, None)
            takes += [prefix for prefix in had[0] if prefix not in new[0] and not self._is_of_another(prefix, key)]
            if new[1] != UNKNOWN:
                known = had[0] if had[1] == new[1] else ()
                puts += [(prefix, new[1]) for prefix in new[0] if prefix not in known]
        if takes:
            commands = [TakeRoutes(tuple(takes)), *commands]
        if puts:
            commands.append(PutRoutes(tuple(puts)))
        return commands

    def _is_of_another(self, prefix: AllowedIP, key: PublicKey) -> bool:
        """Whether the prefix has moved to another peer, which has the route by now."""
        owner = self._residency.owner_of(prefix)
        return owner is not None and owner != key and prefix in self._put.get(owner, _NONE)[0]

    def _wanted(self, key: PublicKey, had: _Routes) -> _Routes:
        """What the peer should have now."""
        resident = self._residency.get(key)
        if resident is None or self._removals.is_settled(key):
            self._forget(key)
            return _NONE
        if key in self._unanswered and not resident.registered:
            return tuple(prefix for prefix in had[0] if prefix in resident.allowed_ips), UNKNOWN
        self._unanswered.discard(key)
        metric = self._metric(key, resident)
        if metric == UNKNOWN:
            self._set_left_out(key, {})
            return _NONE
        owned = [prefix for prefix in resident.allowed_ips if self._residency.owner_of(prefix) == key]
        obstacles = {prefix: why for prefix in owned if (why := self._obstacle(prefix, key)) is not None}
        self._set_left_out(key, {p: why for p, why in obstacles.items() if why is not NoRoute.COVERED})
        if len(owned) == len(resident.allowed_ips) and not obstacles:
            return resident.allowed_ips, metric  # the very same object: 100,000 of them take memory
        return tuple(prefix for prefix in owned if prefix not in obstacles), metric

    def _metric(self, key: PublicKey, resident: Resident) -> int:
        """The metric of a held peer's routes, UNKNOWN for any other peer."""
        if not resident.registered:
            return UNKNOWN
        if not self._holders.on:
            return FIXED
        taken = self._holders.taken(key)
        if taken is None:
            return UNKNOWN
        assert self._rule is not None
        return metric_of(taken) if self._rule.by_claim else FIXED

    def _obstacle(self, prefix: AllowedIP, key: PublicKey) -> NoRoute | None:
        assert self._rule is not None
        if prefix.prefixlen == 0:
            return NoRoute.DEFAULT
        if key in self._around and prefix in self._around[key]:
            return NoRoute.ENDPOINT
        if any(net.version == prefix.version and prefix.subnet_of(net) for net in self._rule.leave_out):  # type: ignore[arg-type]
            return NoRoute.COVERED
        return None

    def _set_left_out(self, key: PublicKey, obstacles: dict[AllowedIP, NoRoute]) -> None:
        before = self._left_out.pop(key, ())
        if obstacles:
            self._left_out[key] = tuple(obstacles)
        self._commands += [LeftOut(key, prefix, why) for prefix, why in obstacles.items() if prefix not in before]

    def _forget(self, key: PublicKey) -> None:
        self._left_out.pop(key, None)
        self._unanswered.discard(key)
        if key not in self._residency:
            self._around.pop(key, None)
            self._looked_at.pop(key, None)


def metric_of(taken: Holding) -> int:
    """The metric that tells how new a holding is: smaller for a newer one. `taken`: as it was when the peer was taken.

    Seconds and no less, since 32 bits hold no more. A client's own next knock counts more than a takeover that a
    gateway has begun, and comes seconds later at least. A client may claim any time: that is cut to what fits.
    """
    return WORST - min(max(0, int(taken.timestamp.unix)) + taken.takeovers, WORST - 1)


def _contains(prefix: AllowedIP, endpoint: Endpoint) -> bool:
    address = endpoint.address
    length = prefix.prefixlen
    if len(address) * 8 != prefix.max_prefixlen or length == 0:
        return False
    shift = prefix.max_prefixlen - length
    return int.from_bytes(address, "big") >> shift == int(prefix.network_address) >> shift


__all__: Sequence[str] = ["FIXED", "UNKNOWN", "WORST", "Routes", "metric_of"]
