"""Invariant: any answer gives values, then perhaps MalformedAnswer or OSError, whose texts hold no value; nothing else.

- Reading ends with the answer. Bytes after its `errno` and empty line stay in the stream.
- An errno is 1 to 4096, of either sign.
- Peers that were read, written as an answer, are read as the same peers. The same holds for the interface.
- Reading an answer in memory gives the same peers as reading it line by line, or fails in the same way.
- Peers that were read can be written as changes, one line each, and the device's own check finds no error in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from typing import Final

from wgjit.drivers.wireguard.checks import check_changes
from wgjit.drivers.wireguard.userspace.dump import read_dump
from wgjit.drivers.wireguard.userspace.messages import Pair, encode_changes, read_answer, read_interface, read_peers
from wgjit.errors import MalformedAnswer
from wgjit.model import DeviceInfo, DevicePeer, PeerChange

_REST: Final = b"the next answer"
_SILENT: Final = re.compile(r"UAPI: [A-Za-z_ =,:-]+( from 0 to \d+| not 64 hex digits)?")


def check(data: bytes) -> None:
    """Hold one input to the invariant."""
    stream = BytesIO(data + _REST)
    lines: list[Pair] = []
    whole = _try(lambda: lines.extend(read_answer(stream)))
    assert all(key and "\n" not in key + value for key, value in lines)
    if whole and data.endswith(b"\n\n"):
        assert stream.read().endswith(_REST)

    peers: list[DevicePeer] = []
    _try(lambda: peers.extend(read_peers(lines)))
    again = [peer for peer in peers if peer.last_handshake == int(peer.last_handshake) < 1 << 53]
    assert list(read_peers(read_answer(BytesIO(_answer(again))))) == again

    crowd: list[DevicePeer] = []
    if _try(lambda: crowd.extend(read_dump(data))) and whole:
        assert crowd == list(read_peers(lines))
    assert list(read_dump(_answer(again))) == again

    changes = [_change(peer) for peer in peers]
    check_changes(changes)
    written = encode_changes(changes).decode()
    assert written.count("\n\n") == 1
    assert written.count("\npublic_key=") == len(peers)

    found: list[DeviceInfo] = []
    if _try(lambda: found.append(read_interface("wg0", 1, lines))):
        [info] = found
        key = "" if info.private_key is None else f"private_key={info.private_key.reveal().hex()}\n"
        text = f"{key}listen_port={info.listen_port}\nfwmark={info.fwmark}\nerrno=0\n\n"
        assert read_interface("wg0", 1, read_answer(BytesIO(text.encode()))) == info


def _try(read: object) -> bool:
    """Whether it came to its end."""
    try:
        read()  # type: ignore[operator]
    except MalformedAnswer as error:
        assert _SILENT.fullmatch(str(error)), f"a text that may tell what was in the answer: {error}"
    except ConnectionResetError as error:
        assert not error.args or error.args[0] in range(1, 4097)
    except OSError as error:
        assert error.errno in range(1, 4097)
        assert not error.strerror
    else:
        return True
    return False


def _answer(peers: Iterable[DevicePeer]) -> bytes:
    """As wireguard-go writes it."""
    lines = []
    for peer in peers:
        lines.append(f"public_key={peer.public_key.hex()}")
        lines.append(f"preshared_key={peer.preshared_key.reveal().hex() if peer.preshared_key else '0' * 64}")
        lines.append("protocol_version=1")
        if peer.endpoint is not None:
            lines.append(f"endpoint={peer.endpoint}")
        lines.append(f"last_handshake_time_sec={int(peer.last_handshake)}")
        lines.append("last_handshake_time_nsec=0")
        lines.append(f"tx_bytes={peer.tx_bytes}")
        lines.append(f"rx_bytes={peer.rx_bytes}")
        lines.append(f"persistent_keepalive_interval={peer.keepalive}")
        lines += [f"allowed_ip={prefix}" for prefix in peer.allowed_ips]
    return "\n".join([*lines, "errno=0\n\n"]).encode()


def _change(peer: DevicePeer) -> PeerChange:
    return PeerChange(
        peer.public_key,
        preshared_key=peer.preshared_key,
        endpoint=peer.endpoint,
        keepalive=peer.keepalive,
        allowed_ips=peer.allowed_ips,
    )
