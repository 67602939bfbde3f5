"""From an interface that holds all its peers to one that holds those in use, and back. No session is touched.

Adopting registers what the interface has: from then on a gateway may let the idle ones go. Releasing installs what is
registered, for good: from then on no gateway is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from wgjit.config.settings import GatewaySettings
from wgjit.core.residents.placeholder import placeholder_key
from wgjit.drivers.base import Device
from wgjit.errors import AddressConflict, DeviceFull, PeerExists
from wgjit.model import NEVER, AllowedIP, DevicePeer, Peer, PeerChange, PublicKey, Standing
from wgjit.stores.base import Peers, Store

MOST = 1 << 20
"""Peers that a WireGuard interface holds at most (MAX_PEERS_PER_DEVICE, messages.h)."""

BATCH = 256
"""Peers installed in a call."""


@dataclass(slots=True)
class Adoption:
    """What adopting an interface's peers comes to."""

    new: list[Peer] = field(default_factory=list)
    """To be registered."""
    pinned: int = 0
    """Of them, those that stay installed: this side keeps them alive, so it may have to call them."""
    present: int = 0
    """Registered already, as they are."""
    differing: list[PublicKey] = field(default_factory=list)
    """Registered already, with other values: a gateway would give them the registered ones."""
    refused: list[tuple[PublicKey, str]] = field(default_factory=list)
    """Not to be registered, and why: they stay on the interface, and a gateway leaves them alone."""


def peers_of(device: Device) -> list[DevicePeer]:
    """The interface's peers, without a gateway's placeholder. Raises DeviceError."""
    ours = _placeholder(device)
    return [peer for peer in device.peers() if peer.public_key != ours]


def _placeholder(device: Device) -> PublicKey | None:
    private_key = device.info().private_key
    return None if private_key is None else placeholder_key(private_key.public())


class _Rehearsed(Exception):
    """Thrown into a registration that is only tried."""


def adopt(
    residents: Iterable[DevicePeer],
    registry: Store,
    register: Callable[[Iterable[Peer]], int],
    *,
    dry_run: bool = False,
) -> Adoption:
    """Register the interface's peers that are not; all of them or, if the registry fails, none. Raises StoreError.

    `register` is `Peers.adopt` of a registry: all or none, and none if the iterable raises.
    With `dry_run` the same is tried, and nothing is written.
    """
    result = Adoption()
    crowd = list(residents)
    wider = _wider(crowd)
    for resident in crowd:
        key = resident.public_key
        registration = registry.lookup(key)
        if registration is not None:
            if _is_as(registration.peer, resident):
                result.present += 1
            else:
                result.differing.append(key)
        elif key in wider:
            result.refused.append((key, f"allowed IP {wider[key]} overlaps another; a registry keeps peers apart"))
        else:
            result.new.append(_registration(resident))
    _register(result, register, dry_run)
    result.pinned = sum(peer.is_pinned for peer in result.new)
    return result


def _register(result: Adoption, register: Callable[[Iterable[Peer]], int], dry_run: bool) -> None:
    """Add the new ones; who is in the way of a registered peer is refused, and the rest added all the same."""

    def rehearsal(peers: list[Peer]) -> Iterator[Peer]:
        yield from peers
        raise _Rehearsed

    while True:
        try:
            register(rehearsal(result.new) if dry_run else result.new)
        except _Rehearsed:
            return
        except (AddressConflict, PeerExists) as error:
            result.refused.append((PublicKey(error.public_key), str(error)))
            result.new = [peer for peer in result.new if peer.public_key != error.public_key]
        else:
            return


def _registration(resident: DevicePeer) -> Peer:
    return Peer(
        resident.public_key,
        resident.allowed_ips,
        resident.preshared_key,
        resident.keepalive,
        idle_timeout=NEVER if resident.keepalive else None,
    )


def _is_as(peer: Peer, resident: DevicePeer) -> bool:
    return (
        set(peer.allowed_ips) == set(resident.allowed_ips)
        and peer.preshared_key == resident.preshared_key
        and peer.keepalive == resident.keepalive
    )


def _wider(residents: Iterable[DevicePeer]) -> dict[PublicKey, AllowedIP]:
    """Whose prefix holds another one: on an interface prefixes may be nested, in a registry they are disjoint."""
    prefixes = sorted(
        ((prefix, resident.public_key) for resident in residents for prefix in resident.allowed_ips),
        key=lambda entry: (entry[0].version, entry[0].network_address.packed, entry[0].prefixlen),
    )
    found: dict[PublicKey, AllowedIP] = {}
    around: list[tuple[AllowedIP, PublicKey]] = []
    for prefix, key in prefixes:
        while around and not (
            around[-1][0].version == prefix.version and around[-1][0].broadcast_address >= prefix.network_address  # type: ignore[operator]
        ):
            around.pop()
        if around:
            found[around[-1][1]] = around[-1][0]
        around.append((prefix, key))
    return found


@dataclass(slots=True)
class Release:
    """What releasing a registry onto an interface comes to."""

    installed: int = 0
    present: int = 0
    """On the interface already."""
    barred: int = 0
    """Disabled or expired: not installed."""
    refused: list[PublicKey] = field(default_factory=list)
    """An allowed IP of theirs belongs to a peer that the registry does not know."""


def release(peers: Peers, device: Device, now: float, *, dry_run: bool = False) -> Release:
    """Install all registered peers that may connect and are not on the interface. `now` is Unix seconds.

    Raises StoreError, DeviceError; DeviceFull before anything is changed if they are too many.
    """
    residents = {resident.public_key: resident.allowed_ips for resident in device.peers()}
    ours = _placeholder(device)
    kept = set(residents.pop(ours, ())) if ours else set()
    if (total := peers.count()) > MOST:
        raise DeviceFull(f"{total} peers are registered; an interface holds {MOST}", field=device.name)
    owners = {prefix: key for key, prefixes in residents.items() for prefix in prefixes}
    result = Release()
    changes = _changes(peers.every(), residents.keys(), owners, now, result)
    while batch := list(islice(changes, BATCH)):
        if not dry_run:
            device.apply(batch)
            kept -= {prefix for change in batch for prefix in change.allowed_ips or ()}
        result.installed += len(batch)
    if ours and not kept and not dry_run:  # else it keeps the addresses of those that may not connect
        device.apply([PeerChange(ours, remove=True)])
    return result


def _changes(
    peers: Iterable[Peer],
    residents: Iterable[PublicKey],
    owners: dict[AllowedIP, PublicKey],
    now: float,
    result: Release,
) -> Iterator[PeerChange]:
    there = set(residents)
    for peer in peers:
        if peer.public_key in there:
            result.present += 1
        elif peer.standing(now) is not Standing.ENABLED:
            result.barred += 1
        elif any(prefix in owners for prefix in peer.allowed_ips):
            result.refused.append(peer.public_key)
        else:
            yield PeerChange.install(peer)


def idle_residents(residents: Sequence[DevicePeer], gateway: GatewaySettings, now: float) -> int:
    """How many have had no handshake for the gateway's idle timeout, or never; `now` is Unix seconds."""
    return sum(now - resident.last_handshake >= gateway.idle_timeout for resident in residents)
