"""Peers installed per second in kernel WireGuard: `python -m bench.install`, in a guest that has it.

Beside each way to install runs the same with messages prepared beforehand and only sent: what is between the two is
our encoding, the rest is the kernel's. The ways alternate within a round, so that whatever else this machine does
falls on both alike; each peer is new, with a preshared key, an IPv4 and an IPv6 prefix. Ends with status 1
if a ratio is over its limit.
"""

from __future__ import annotations

import argparse
import ipaddress
import secrets
import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

from lab.netns import Lab
from wgjit.drivers.genetlink import GenetlinkSocket
from wgjit.drivers.links import create_interface, delete_interface
from wgjit.drivers.wg_messages import FAMILY, VERSION, WG_CMD_SET_DEVICE, encode_changes
from wgjit.drivers.wg_netlink import KernelDevice
from wgjit.errors import DeviceError
from wgjit.model import Peer, PeerChange, PresharedKey, PrivateKey, PublicKey

ROUNDS = 9
LIMITS = {"one by one": 1.75, "in one call": 1.5}
"""What each way may cost, as a ratio to its messages being prepared beforehand and only sent."""


def new_peers(count: int) -> list[PeerChange]:
    """As a gateway installs them: without endpoint, which the client's own packet brings."""
    return [
        PeerChange.install(
            Peer(
                PublicKey(secrets.token_bytes(32)),
                (
                    ipaddress.IPv4Network((secrets.token_bytes(4), 32)),
                    ipaddress.IPv6Network((secrets.token_bytes(16), 128)),
                ),
                PresharedKey.generate(),
            )
        )
        for _ in range(count)
    ]


def seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


class Bench:
    """Four ways to install so many peers, and what each costs per peer."""

    def __init__(self, device: KernelDevice, sender: GenetlinkSocket, count: int) -> None:
        self.device, self.sender, self.count = device, sender, count

    def _apply_each(self, changes: Sequence[Sequence[PeerChange]]) -> None:
        for change in changes:
            self.device.apply(change)

    def _send(self, prepared: Sequence[bytes]) -> None:
        for attributes in prepared:
            self.sender.command(WG_CMD_SET_DEVICE, attributes)

    def one_by_one(self) -> float:
        changes = [[peer] for peer in new_peers(self.count)]
        return seconds(lambda: self._apply_each(changes)) / self.count

    def one_by_one_prepared(self) -> float:
        name = self.device.name
        prepared = [attributes for peer in new_peers(self.count) for attributes in encode_changes(name, [peer])]
        return seconds(lambda: self._send(prepared)) / self.count

    def together(self) -> float:
        changes = new_peers(self.count)
        return seconds(lambda: self.device.apply(changes)) / self.count

    def together_prepared(self) -> float:
        prepared = list(encode_changes(self.device.name, new_peers(self.count)))
        return seconds(lambda: self._send(prepared)) / self.count

    def read(self, wanted: int) -> tuple[float, list[PublicKey]]:
        """A dump's seconds a peer, and who is there. Raises DeviceError if these are not as many as wanted."""
        found: list[PublicKey] = []
        taken = seconds(lambda: found.extend(peer.public_key for peer in self.device.peers()))
        if len(found) != wanted:
            raise DeviceError(f"{self.device.name}: {len(found)} peers are there, {wanted} were installed")
        return taken / wanted, found

    def remove(self, keys: Sequence[PublicKey]) -> float:
        changes = [PeerChange(key, remove=True) for key in keys]
        return seconds(lambda: self.device.apply(changes)) / len(keys)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.install", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=int, default=1000, help="peers a round and way (default 1000)")
    arguments = parser.parse_args()
    with Lab() as lab:
        name = lab.interface("b")
        try:
            create_interface(name, backend="kernel")
        except DeviceError as error:
            print(f"bench.install: {error}", file=sys.stderr)
            return 2
        try:
            return report(*measure(name, arguments.peers))
        finally:
            delete_interface(name)


def measure(name: str, count: int) -> tuple[dict[str, float], float, float]:
    """Medians over the rounds: seconds a peer by each way, then by a dump, then by removal."""
    device, sender = KernelDevice(name), GenetlinkSocket(VERSION)
    sender.resolve(FAMILY)
    device.set_interface(PrivateKey.generate().reveal())  # without one the kernel skips its Diffie-Hellman
    bench = Bench(device, sender, count)
    ways = {
        "one by one": bench.one_by_one,
        "one by one, prepared": bench.one_by_one_prepared,
        "in one call": bench.together,
        "in one call, prepared": bench.together_prepared,
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    dumps: list[float] = []
    removals: list[float] = []
    for _ in range(ROUNDS):
        for way, work in ways.items():
            taken[way].append(work())
        dump, keys = bench.read(len(ways) * count)
        dumps.append(dump)
        removals.append(bench.remove(keys))
    device.close()
    sender.close()
    return {way: median(times) for way, times in taken.items()}, median(dumps), median(removals)


def report(ways: dict[str, float], dump: float, removal: float) -> int:
    print(f"{'kernel WireGuard':<24} {'µs a peer':>10} {'peers/s':>10}   over prepared")
    failed = []
    for way, each in ways.items():
        line = f"{way:<24} {each * 1e6:>10.1f} {1 / each:>10,.0f}"
        if way in LIMITS:
            ratio = each / ways[f"{way}, prepared"]
            line += f"   {ratio:.2f}× (at most {LIMITS[way]}×)"
            if ratio > LIMITS[way]:
                failed.append(way)
        print(line)
    for way, each in (("dump", dump), ("removal in one call", removal)):
        print(f"{way:<24} {each * 1e6:>10.1f} {1 / each:>10,.0f}")
    for way in failed:
        print(f"FAILED: {way}: over its limit")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
