"""The peer that keeps the addresses of registered peers while those are not in the device.

WireGuard gives a packet to the peer with the longest matching prefix, and takes one only from that peer. A peer that
the registry does not know may have a prefix around registered addresses, up to 0.0.0.0/0. While every registered peer
was installed, their longer prefixes kept it away from their addresses. Without them their traffic would go to that
wider peer, and it could send in their name.

So as long as there is such a wider peer, the device has one more: the placeholder. It owns the registered addresses
inside the wider prefixes. Nobody has its private key and it has no endpoint, thus what is sent to it goes nowhere and
nothing comes from it. A peer that is installed takes its addresses from the placeholder, and one that leaves gives
them back before it goes: by WireGuard's own rule, each in one step, without a moment in which nobody has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from wgjit.core.residents.residency import Residency
from wgjit.core.vocabulary import Command, Configure, FindCover, Now, Sheltered
from wgjit.model import AllowedIP, Cover, DevicePeer, PeerChange, PublicKey

LIMIT = 4096
"""Prefixes that the placeholder has, about: each look reads them, and WireGuard keeps each."""


def placeholder_key(interface: PublicKey) -> PublicKey:
    """The placeholder's key on the interface with this public key: the same after each start of the gateway.

    A hash names a point whose private key nobody has: to find one is to break X25519.
    """
    return PublicKey(sha256(b"wgjit placeholder" + interface).digest())


def waste_key(interface: PublicKey) -> PublicKey:
    """A peer that takes prefixes away from the placeholder, and is removed with them."""
    return PublicKey(sha256(b"wgjit placeholder's waste" + interface).digest())


class Placeholder:
    """What the placeholder of one interface should have, and what it has."""

    def __init__(self, interface: PublicKey, residency: Residency, networks: tuple[AllowedIP, ...] = ()) -> None:
        """`networks`: where registered addresses are, for a registry that cannot tell which are registered."""
        self.key = placeholder_key(interface)
        self._waste = waste_key(interface)
        self._residency = residency
        self._networks = networks
        self._foreign: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        """Prefixes for more than one address of peers that the registry is not known to know."""
        self._around: Counter[AllowedIP] = Counter()
        """Of all of them, how many peers have each."""
        self._wide: frozenset[AllowedIP] = frozenset()
        """Those for which the registry was asked."""
        self._cover: Cover | None = Cover(())
        self._is_answered = True
        """The cover is the registry's answer for these wide prefixes."""
        self._given: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        """By peers whose removal is being made: the residency still has them."""
        self._has_waste = False
        """A process that was killed left the waste peer behind."""
        self._told: tuple[frozenset[PublicKey], bool] = frozenset(), True
        self._has: set[AllowedIP] = set()
        self._exists = False
        self._seen = False
        self._changed = float("-inf")
        """Monotonic seconds of the last change that was asked for."""
        self._kept: set[AllowedIP] = set()
        """Given back by peers that left, of a registry that cannot tell what is registered."""

    # --- who is around registered addresses -------------------------------------------------------------------

    def foreign(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        """The device has this peer, with these prefixes, and the registry is not known to know it."""
        wide = tuple(prefix for prefix in allowed_ips if prefix.prefixlen < prefix.max_prefixlen)
        if wide != self._foreign.get(key, ()):
            self.not_foreign(key)
            self._foreign[key] = wide
            self._around.update(wide)

    def not_foreign(self, key: PublicKey) -> None:
        """The peer is gone, or the registry knows it."""
        for prefix in self._foreign.pop(key, ()):
            self._around[prefix] -= 1
            if not self._around[prefix]:
                del self._around[prefix]

    def news(self) -> frozenset[AllowedIP] | None:
        """The foreign peers' wide prefixes, if they are not what they were: ask the registry for its cover of them."""
        if self._around.keys() == self._wide:
            return None
        wide = frozenset(self._around)
        self._wide = wide
        self._is_answered = not wide
        if not wide:
            self._cover, self._kept = Cover(()), set()
        return wide

    def keep(self, now: Now) -> list[Command]:
        """Have registered addresses kept from peers that the registry does not know."""
        commands: list[Command] = []
        if (within := self.news()) is not None:
            commands.append(FindCover(within))
        if changes := self.mend(now.monotonic):
            commands.append(Configure(tuple(changes)))
        if told := self.told():
            commands.append(told)
        return commands

    @property
    def size(self) -> int:
        """How many prefixes it has."""
        return len(self._has)

    def told(self) -> Sheltered | None:
        """What people should know, if it is not what they were told before."""
        peers = frozenset(
            key
            for key, prefixes in self._foreign.items()
            if any(_is_inside(prefix, outer) for outer in prefixes for prefix in self._has)
        )
        exact = self._cover is not None and self._cover.exact
        if (peers, exact) == self._told or (not peers and not self._told[0]):
            return None
        self._told = peers, exact
        return Sheltered(tuple(sorted(peers)), len(self._has), exact)

    # --- what it has ------------------------------------------------------------------------------------------

    def covered(self, within: frozenset[AllowedIP], cover: Cover | None) -> None:
        """The registry's answer; None if it cannot tell all registered addresses."""
        if within == self._wide:
            self._cover, self._is_answered = cover, True

    def is_ours(self, peer: DevicePeer, began: float) -> bool:
        """Whether a peer of a look that began then is the placeholder, or what a killed process left of a change."""
        if peer.public_key == self.key:
            if began > self._changed and peer.is_whole:
                self._exists, self._has = True, set(peer.allowed_ips)
            self._seen = True
            return True
        if peer.public_key == self._waste:
            self._has_waste = True
            return True
        return False

    def looked(self, began: float) -> None:
        """A look that began then has come to its end."""
        if not self._seen and began > self._changed:
            self._exists, self._has = False, set()
        self._seen = False

    def taken(self, allowed_ips: Iterable[AllowedIP]) -> None:
        """A peer has these prefixes now."""
        if self._has:
            self._has.difference_update(allowed_ips)

    def take_for_removal(self, leaving: Mapping[PublicKey, Iterable[AllowedIP]], now: float) -> PeerChange | None:
        """As `take`, of peers whose removal takes a while: `gone` or `give_back` tells how it ended."""
        self._given.update({key: tuple(allowed_ips) for key, allowed_ips in leaving.items()})
        return self.take((prefix for allowed_ips in leaving.values() for prefix in allowed_ips), now)

    def take(self, allowed_ips: Iterable[AllowedIP], now: float) -> PeerChange | None:
        """The change that gives it prefixes of which a peer lets go; None if no other peer could use them."""
        taken = list(filter(self._is_exposed, allowed_ips)) if self._around else []
        if not taken:
            return None
        self._has.update(taken)
        self._kept.update(taken)
        self._exists, self._changed = True, now
        return PeerChange(self.key, more_allowed_ips=tuple(taken))

    def gone(self, key: PublicKey) -> None:
        """The peer that left has been removed."""
        self._given.pop(key, None)

    def give_back(self, key: PublicKey) -> PeerChange | None:
        """The peer that was to leave is still there: the change that gives it its prefixes again."""
        prefixes = tuple(prefix for prefix in self._given.pop(key, ()) if prefix in self._has)
        self._has.difference_update(prefixes)
        return PeerChange(key, update_only=True, more_allowed_ips=prefixes) if prefixes else None

    def _is_exposed(self, prefix: AllowedIP) -> bool:
        """Whether the longest prefix around this one is a foreign peer's, and not the placeholder's."""
        around = prefix
        while around.prefixlen:
            around = around.supernet()
            if around in self._around:
                return True
            if around in self._has:
                return False
        return False

    def mend(self, now: float) -> list[PeerChange]:
        """The changes that give it what it should have. No prefix that it keeps is anybody else's meanwhile."""
        waste = [PeerChange(self._waste, remove=True)] if self._has_waste else []
        self._has_waste = False
        wanted = set(self._wanted())
        if wanted == self._has and self._exists == bool(wanted):
            return waste
        self._changed = now
        add, drop = tuple(wanted - self._has), tuple(self._has - wanted)
        self._has, self._exists = wanted, bool(wanted)
        if not wanted:
            return [*waste, PeerChange(self.key, remove=True)]
        changes = [PeerChange(self.key, more_allowed_ips=add)] if add else []
        if drop:  # a peer whose set is replaced has none for a moment, so they go by way of another
            changes += [PeerChange(self._waste, more_allowed_ips=drop), PeerChange(self._waste, remove=True)]
            return changes
        return waste + changes

    def _wanted(self) -> Iterator[AllowedIP]:
        if not self._wide:
            return
        prefixes: set[AllowedIP] = set(self._cover.prefixes) if self._cover is not None else set()
        if not self._is_answered:
            prefixes |= self._has
        if self._cover is None:
            candidates = (*self._networks, *self._kept, *self._has)
            prefixes |= {p for p in candidates if any(_is_inside(p, outer) for outer in self._wide)}
        # A wider peer may be noticed while a removal is made that was begun without a thought of it.
        prefixes |= {p for given in self._given.values() for p in given if p in self._has or self._is_exposed(p)}
        for prefix in prefixes:
            owner = self._residency.owner_of(prefix)
            if owner is None or owner in self._given:
                yield prefix


def _is_inside(prefix: AllowedIP, outer: AllowedIP) -> bool:
    return prefix != outer and prefix.version == outer.version and prefix.subnet_of(outer)  # type: ignore[arg-type]
