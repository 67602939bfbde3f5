"""The placeholder: a peer that keeps the addresses of registered peers while these peers are not in the device.

WireGuard sends a packet to the peer with the longest matching prefix, and accepts a packet only from that peer. A
foreign peer (which the registry does not know) may have a prefix around registered addresses, up to 0.0.0.0/0. On an
interface with all peers installed, the registered peers' longer prefixes keep the foreign peer away from their
addresses. While registered peers are not installed, the foreign peer would get their traffic, and could send in their
name.

So while there is such a wider foreign peer, the device also has the placeholder. It owns the registered addresses
inside the wider prefixes. Nobody has its private key and it has no endpoint, so packets to it go nowhere and no packet
comes from it. An installed peer takes its addresses from the placeholder. A leaving peer gives them back before it is
removed. By WireGuard's own rule each of these is one step, so there is no moment without an owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from wgjit.core.residents.residency import Residency
from wgjit.core.vocabulary.commands import Command, Configure, FindCover, Sheltered
from wgjit.core.vocabulary.moment import Now
from wgjit.model import AllowedIP, Cover, DevicePeer, PeerChange, PublicKey

LIMIT = 4096
"""Approximate limit for the placeholder's prefixes. Each look reads them all, and WireGuard keeps them all."""


def placeholder_key(interface: PublicKey) -> PublicKey:
    """The placeholder's key on the interface with this public key. It is the same after each start of the gateway.

    The key is a hash, so nobody has its private key. To find the private key is to break X25519.
    """
    return PublicKey(sha256(b"wgjit placeholder" + interface).digest())


def waste_key(interface: PublicKey) -> PublicKey:
    """The key of the waste peer: it takes prefixes from the placeholder, and is removed together with them."""
    return PublicKey(sha256(b"wgjit placeholder's waste" + interface).digest())


class Placeholder:
    """The prefixes that the placeholder of one interface should have, and those that it has."""

    def __init__(self, interface: PublicKey, residency: Residency, networks: tuple[AllowedIP, ...] = ()) -> None:
        """`networks`: prefixes around all registered addresses, for a registry that cannot list its addresses."""
        self.key = placeholder_key(interface)
        self._waste = waste_key(interface)
        self._residency = residency
        self._networks = networks
        self._foreign: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        """The wide prefixes (more than one address) of each foreign peer."""
        self._around: Counter[AllowedIP] = Counter()
        """Number of foreign peers that have each wide prefix."""
        self._wide: frozenset[AllowedIP] = frozenset()
        """The wide prefixes for which the registry was asked."""
        self._cover: Cover | None = Cover(())
        self._is_answered = True
        """The cover is the registry's answer for these wide prefixes."""
        self._given: dict[PublicKey, tuple[AllowedIP, ...]] = {}
        """Prefixes that peers gave to the placeholder for their removal. The residency still has these peers."""
        self._has_waste = False
        """A killed process has left the waste peer in the device."""
        self._told: tuple[frozenset[PublicKey], bool] = frozenset(), True
        self._has: set[AllowedIP] = set()
        self._exists = False
        self._seen = False
        self._changed = float("-inf")
        """Monotonic seconds of the last change of the placeholder that the core decided on."""
        self._kept: set[AllowedIP] = set()
        """Prefixes that leaving peers gave back. Used if the registry cannot list its addresses."""

    # --- foreign peers around registered addresses ------------------------------------------------------------

    def foreign(self, key: PublicKey, allowed_ips: Iterable[AllowedIP]) -> None:
        """The device has this foreign peer, with these prefixes."""
        wide = tuple(prefix for prefix in allowed_ips if prefix.prefixlen < prefix.max_prefixlen)
        if wide != self._foreign.get(key, ()):
            self.not_foreign(key)
            self._foreign[key] = wide
            self._around.update(wide)

    def not_foreign(self, key: PublicKey) -> None:
        """The foreign peer is gone, or the registry knows it now."""
        for prefix in self._foreign.pop(key, ()):
            self._around[prefix] -= 1
            if not self._around[prefix]:
                del self._around[prefix]

    def news(self) -> frozenset[AllowedIP] | None:
        """The foreign peers' wide prefixes if they have changed, for the next FindCover; else None."""
        if self._around.keys() == self._wide:
            return None
        wide = frozenset(self._around)
        self._wide = wide
        self._is_answered = not wide
        if not wide:
            self._cover, self._kept = Cover(()), set()
        return wide

    def keep(self, now: Now) -> list[Command]:
        """The commands that keep registered addresses from foreign peers."""
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
        """Number of prefixes that the placeholder has."""
        return len(self._has)

    def told(self) -> Sheltered | None:
        """The notice for the log if it differs from the last one, else None."""
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

    # --- the placeholder's prefixes ---------------------------------------------------------------------------

    def covered(self, within: frozenset[AllowedIP], cover: Cover | None) -> None:
        """The registry's answer. `cover` is None if the registry cannot list its addresses."""
        if within == self._wide:
            self._cover, self._is_answered = cover, True

    def is_ours(self, peer: DevicePeer, began: float) -> bool:
        """Whether a peer of a look that began at `began` is the placeholder or the waste peer."""
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
        """A look that began at `began` is complete."""
        if not self._seen and began > self._changed:
            self._exists, self._has = False, set()
        self._seen = False

    def taken(self, allowed_ips: Iterable[AllowedIP]) -> None:
        """A peer has taken these prefixes."""
        if self._has:
            self._has.difference_update(allowed_ips)

    def take_for_removal(self, leaving: Mapping[PublicKey, Iterable[AllowedIP]], now: float) -> PeerChange | None:
        """Like `take`, for peers that are being removed. `gone` or `give_back` follows when the removal has ended."""
        self._given.update({key: tuple(allowed_ips) for key, allowed_ips in leaving.items()})
        return self.take((prefix for allowed_ips in leaving.values() for prefix in allowed_ips), now)

    def take(self, allowed_ips: Iterable[AllowedIP], now: float) -> PeerChange | None:
        """The change that gives it prefixes which a peer releases; None if no foreign peer could use them."""
        taken = list(filter(self._is_exposed, allowed_ips)) if self._around else []
        if not taken:
            return None
        self._has.update(taken)
        self._kept.update(taken)
        self._exists, self._changed = True, now
        return PeerChange(self.key, more_allowed_ips=tuple(taken))

    def gone(self, key: PublicKey) -> None:
        """The leaving peer has been removed."""
        self._given.pop(key, None)

    def give_back(self, key: PublicKey) -> PeerChange | None:
        """The removal has failed: the change that gives the peer its prefixes again."""
        prefixes = tuple(prefix for prefix in self._given.pop(key, ()) if prefix in self._has)
        self._has.difference_update(prefixes)
        return PeerChange(key, update_only=True, more_allowed_ips=prefixes) if prefixes else None

    def _is_exposed(self, prefix: AllowedIP) -> bool:
        """Whether the longest wider prefix around this one belongs to a foreign peer, not to the placeholder."""
        around = prefix
        while around.prefixlen:
            around = around.supernet()
            if around in self._around:
                return True
            if around in self._has:
                return False
        return False

    def mend(self, now: float) -> list[PeerChange]:
        """The changes that give the placeholder the prefixes it should have.

        A prefix that it keeps stays the placeholder's during the changes.
        """
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
        if drop:  # replacing the whole set would leave it empty for a moment, so the waste peer takes the prefixes
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
        # A wider foreign peer may be noticed after the beginning of a removal that did not reckon with it.
        prefixes |= {p for given in self._given.values() for p in given if p in self._has or self._is_exposed(p)}
        for prefix in prefixes:
            owner = self._residency.owner_of(prefix)
            if owner is None or owner in self._given:
                yield prefix


def _is_inside(prefix: AllowedIP, outer: AllowedIP) -> bool:
    return prefix != outer and prefix.version == outer.version and prefix.subnet_of(outer)  # type: ignore[arg-type]
