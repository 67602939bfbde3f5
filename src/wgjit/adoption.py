"""Turns an interface with all its peers into one with only the peers in use, and back. No session is touched.

`adopt` registers the interface's peers, so that a gateway may then remove the idle ones. `release` installs all
registered peers for good, so that no gateway is needed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from wgjit.config.settings import GatewaySettings
from wgjit.core.residents.placeholder import placeholder_key
from wgjit.drivers.base import Device
from wgjit.errors import AddressConflict, DeviceFull, InvalidValue, PeerExists
from wgjit.model import NEVER, AllowedIP, DevicePeer, Peer, PeerChange, PublicKey, Standing
from wgjit.stores.base import Peers, Store

MOST = 1 << 20
"""Most peers of a WireGuard interface (MAX_PEERS_PER_DEVICE, messages.h)."""

BATCH = 256
"""Peers installed per call."""


@dataclass(slots=True)
class Adoption:
    """The result of adopting an interface's peers."""

    new: list[Peer] = field(default_factory=list)
    """Peers to register."""
    pinned: int = 0
    """Number of new peers that stay installed. The interface sends them keepalives, so it may have to reach them."""
    present: int = 0
    """Number of peers that are registered already, with the same values."""
    differing: list[PublicKey] = field(default_factory=list)
    """Peers that are registered with other values. A gateway would give them the registered values."""
    refused: list[tuple[PublicKey, str]] = field(default_factory=list)
    """Peers that cannot be registered, and why. They stay on the interface, and a gateway leaves them alone."""


def peers_of(device: Device) -> list[DevicePeer]:
    """The interface's peers, without a gateway's placeholder. Raises DeviceError."""
    ours = _placeholder(device)
    return [peer for peer in device.peers() if peer.public_key != ours]


def _placeholder(device: Device) -> PublicKey | None:
    private_key = device.info().private_key
    return None if private_key is None else placeholder_key(private_key.public())


def _fine(_: Peer) -> None:
    """Accepts every peer."""


class _Rehearsed(Exception):
    """Ends a registration that is only tried."""


def adopt(
    residents: Iterable[DevicePeer],
    registry: Store,
    register: Callable[[Iterable[Peer]], int],
    *,
    dry_run: bool = False,
    check: Callable[[Peer], None] = _fine,
) -> Adoption:
    """Register the interface's unregistered peers: all of them, or none if the registry fails. Raises StoreError.

    A peer for which `check` raises InvalidValue is refused: one that has the gateway's own key or address.

    `register` is `Peers.adopt` of a registry. It registers all peers or none, and none if the iterable raises.
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
            peer = _registration(resident)
            try:
                check(peer)
            except InvalidValue as error:
                result.refused.append((key, error.told))
            else:
                result.new.append(peer)
    _register(result, register, dry_run)
    result.pinned = sum(peer.is_pinned for peer in result.new)
    return result


def _register(result: Adoption, register: Callable[[Iterable[Peer]], int], dry_run: bool) -> None:
    """Register the new peers. A peer that conflicts with a registered one is refused; the others are registered."""

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
    """The peers with a prefix around another one: an interface allows nested prefixes, a registry does not."""
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
    """The result of releasing a registry onto an interface."""

    installed: int = 0
    present: int = 0
    """Number of peers that are on the interface already."""
    barred: int = 0
    """Number of peers that are disabled or expired, and not installed."""
    refused: list[PublicKey] = field(default_factory=list)
    """Peers that are not installed, because a peer that was on the interface before has one of their allowed IPs."""


def release(peers: Peers, device: Device, now: float, *, dry_run: bool = False) -> Release:
    """Install all registered peers that may connect and are not on the interface. `now` is Unix seconds.

    Raises StoreError, DeviceError. Raises DeviceFull, before any change, if too many peers are registered.
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
    if ours and not kept and not dry_run:  # else the placeholder keeps the addresses of peers that may not connect
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
    """Number of residents without a handshake for the gateway's idle timeout, or without any. `now` is Unix seconds."""
    return sum(now - resident.last_handshake >= gateway.idle_timeout for resident in residents)
