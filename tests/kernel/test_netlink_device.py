"""The kernel's WireGuard, held to the device contract, and what only it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat

import pytest

from tests.contracts.device import assert_told, crowd, new_key, prefixes, told
from tests.contracts.real_device import RealDeviceContract
from wgjit.drivers.base import Device
from wgjit.drivers.netlink.codec import Message
from wgjit.drivers.netlink.generic import GenetlinkSocket
from wgjit.drivers.wireguard.interface import delete_interface, interface_exists
from wgjit.drivers.wireguard.kernel import device as wg_netlink
from wgjit.drivers.wireguard.kernel.device import KernelDevice
from wgjit.drivers.wireguard.kernel.messages import cut_a_peer, ends_early, is_disturbed
from wgjit.errors import DeviceError
from wgjit.model import PeerChange, PublicKey


class Watch:
    """All dumps taken, and what happens to the interface after the first message of each."""

    def __init__(self) -> None:
        self.dumps: list[list[Message]] = []
        self.meanwhile: Iterator[Callable[[], None]] = iter(())

    @property
    def disturbed(self) -> list[bool]:
        return [any(is_disturbed(message) for message in dump) for dump in self.dumps]

    @property
    def lost(self) -> list[bool]:
        """Those that will not do: peers are missing, or something of one."""
        spoilt = [[message for message in dump[1:] if is_disturbed(message)] for dump in self.dumps]
        return [any(ends_early(message) or cut_a_peer(message) for message in messages) for messages in spoilt]


class TestKernelDevice(RealDeviceContract):
    backend = "kernel"

    # --- dumps of an interface that changes meanwhile ---------------------------------------------------------

    @pytest.fixture
    def watch(self, monkeypatch: pytest.MonkeyPatch) -> Watch:
        watch = Watch()

        class Watched(GenetlinkSocket):
            def dump_command(self, command: int, attributes: bytes) -> Iterator[Message]:
                watch.dumps.append(dump := [])
                for message in super().dump_command(command, attributes):
                    dump.append(message)
                    if len(dump) == 1:
                        next(watch.meanwhile, lambda: None)()
                    yield message

        monkeypatch.setattr(wg_netlink, "GenetlinkSocket", Watched)
        return watch

    def test_a_quiet_dump_is_taken_once(self, device: Device, watch: Watch) -> None:
        device.apply(crowd(1000))
        assert len(told(device)) == 1000
        assert len(watch.dumps[0]) > 5
        assert watch.disturbed == [False]

    def test_a_dump_that_loses_its_place_is_taken_again(self, device: Device, watch: Watch) -> None:
        changes = crowd(2000)
        device.apply(changes)
        # The kernel is one message ahead of us: its place is among these, and they are all gone then.
        goes = [PeerChange(change.public_key, remove=True) for change in changes[5:1000]]
        watch.meanwhile = iter([lambda: device.apply(goes)])
        assert told(device).keys() == {change.public_key for change in (*changes[:5], *changes[1000:])}
        assert (watch.disturbed, watch.lost) == ([True, False], [True, False])

    def test_an_interrupted_dump_that_lost_nobody_is_taken_again_too(self, device: Device, watch: Watch) -> None:
        device.apply(crowd(1000))
        watch.meanwhile = iter([lambda: device.apply([late])])
        late = PeerChange(new_key())
        found = told(device)
        assert len(found) == 1001
        assert late.public_key in found
        assert (watch.disturbed, watch.lost) == ([True, False], [False, False])

    def test_where_no_dump_is_undisturbed_one_that_lost_nobody_will_do(self, device: Device, watch: Watch) -> None:
        changes = crowd(1000)
        device.apply(changes)
        key = changes[0].public_key  # in the first message; removed and added, it comes once more at the list's end
        watch.meanwhile = repeat(lambda: device.apply([PeerChange(key, remove=True), changes[0]]))
        assert_told(device, changes)
        assert (watch.disturbed, watch.lost) == ([True] * 3, [False] * 3)

    def test_a_dump_that_always_loses_peers_is_given_up(self, device: Device, watch: Watch) -> None:
        changes = crowd(500)
        device.apply(changes)
        all_go = [PeerChange(change.public_key, remove=True) for change in changes]
        watch.meanwhile = repeat(lambda: device.apply([*all_go, *changes]))
        with pytest.raises(DeviceError, match="change faster than they can be read"):
            next(device.peers())
        assert watch.lost == [True] * 16

    def test_a_split_peer_that_was_cut_short_is_told_whole(self, device: Device, watch: Watch) -> None:
        first, big, thief = PeerChange(new_key()), many_prefixes(), PeerChange(new_key())
        device.apply([first, big, thief])
        theft = PeerChange(thief.public_key, allowed_ips=prefixes("192.0.2.0/24"))
        watch.meanwhile = iter([lambda: device.apply([theft])])  # now the kernel stands in the middle of the big one
        assert_told(device, [first, big, theft])
        assert (watch.disturbed, watch.lost) == ([True, False], [True, False])

    def test_a_split_peer_that_was_removed_takes_nothing_of_the_next(self, device: Device, watch: Watch) -> None:
        first, big = PeerChange(new_key()), many_prefixes()
        last = PeerChange(new_key(), keepalive=9, allowed_ips=prefixes("192.0.2.0/24"))
        device.apply([first, big, last])
        watch.meanwhile = iter([lambda: device.apply([PeerChange(big.public_key, remove=True)])])
        assert_told(device, [first, last])
        assert (watch.disturbed, watch.lost) == ([True, False], [True, False])

    def test_partly_told_a_disturbed_dump_will_do(self, device: Device, watch: Watch) -> None:
        """As in the two tests before, and one reading is enough: who was cut is there, and said not to be whole."""
        first, big, thief = PeerChange(new_key()), many_prefixes(), PeerChange(new_key())
        device.apply([first, big, thief])
        theft = PeerChange(thief.public_key, allowed_ips=prefixes("192.0.2.0/24"))
        removal = PeerChange(big.public_key, remove=True)
        for change, whole in ((theft, {first.public_key, thief.public_key}), (removal, {first.public_key})):
            watch.dumps.clear()
            watch.meanwhile = iter([lambda change=change: device.apply([change])])  # type: ignore[misc]
            found = {peer.public_key: peer.is_whole for peer in device.peers(partial=True)}
            assert found == {peer.public_key: peer.public_key in whole for peer in (first, big, thief)}
            assert (watch.disturbed, watch.lost) == ([True], [True])
        assert {peer.is_whole for peer in device.peers(partial=True)} == {True}

    def test_not_even_partly_told_is_a_dump_that_loses_its_place(self, device: Device, watch: Watch) -> None:
        changes = crowd(2000)
        device.apply(changes)
        goes = [PeerChange(change.public_key, remove=True) for change in changes[5:1000]]
        watch.meanwhile = iter([lambda: device.apply(goes)])
        told_of = {peer.public_key for peer in device.peers(partial=True)}
        assert told_of == {change.public_key for change in (*changes[:5], *changes[1000:])}
        assert watch.disturbed == [True, False]

    def test_peers_that_stay_are_all_told_while_others_come_and_go(self, device: Device, watch: Watch) -> None:
        stay, goes = crowd(1000), [new_key() for _ in range(1000)]
        device.apply([change for pair in zip(stay, map(PeerChange, goes), strict=True) for change in pair])
        with _churn(device, goes):
            for _ in range(200):  # until one was disturbed: when, the scheduler decides
                assert told(device).keys() >= {change.public_key for change in stay}
                if any(watch.disturbed):
                    return
        raise AssertionError("no dump was disturbed")

    # --- the rest ---------------------------------------------------------------------------------------------

    def test_the_interface_is_not_read_with_its_peers(self, device: Device, watch: Watch) -> None:
        device.apply(crowd(1000))
        device.info()
        assert [len(dump) for dump in watch.dumps] == [1]

    def test_the_interface_can_go_while_its_peers_are_read(self, device: Device) -> None:
        device.apply(crowd(500))
        stream = device.peers()
        next(stream)
        del stream
        delete_interface(device.name)
        assert not interface_exists(device.name)

    def test_all_peers_are_removed_at_once(self, device: Device) -> None:
        assert isinstance(device, KernelDevice)
        device.apply(crowd(300))
        device.remove_all_peers()
        assert list(device.peers()) == []

    def test_commands_from_several_threads_do_not_mix_up_their_answers(self, device: Device) -> None:
        crowds = [[new_key() for _ in range(50)] for _ in range(4)]

        def add(keys: list[PublicKey]) -> None:
            for key in keys:
                device.apply([PeerChange(key)])

        threads = [threading.Thread(target=add, args=(keys,)) for keys in crowds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told(device).keys() == {key for keys in crowds for key in keys}


def many_prefixes() -> PeerChange:
    """A peer that the kernel splits over several messages."""
    return PeerChange(new_key(), allowed_ips=prefixes(*(f"10.{i >> 8}.{i & 255}.0/24" for i in range(4000))))


@contextmanager
def _churn(device: Device, keys: list[PublicKey]) -> Iterator[None]:
    """Remove and add these peers, one after the other, on a thread of its own."""
    started, ended = threading.Event(), threading.Event()

    def churn() -> None:
        while True:
            for key in keys:
                device.apply([PeerChange(key, remove=True)])
                device.apply([PeerChange(key)])
                started.set()
                if ended.is_set():
                    return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert started.wait(10)
        yield
    finally:
        ended.set()
        thread.join()
