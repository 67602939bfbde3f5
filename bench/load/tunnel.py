"""Inside a session: transport data opened (paper, section 5.4.6)."""

from __future__ import annotations

import struct
from typing import Final

from wgjit.wire.kdf import nonce, open_
from wgjit.wire.messages import TRANSPORT_DATA
from wgjit.wire.noise import SessionKeys

_HEAD: Final = struct.Struct("<IIQ")
_TAG: Final = 16


def receiver_of(message: bytes) -> int | None:
    """The index that transport data is for; None if it is too short to be any."""
    return _HEAD.unpack_from(message)[1] if len(message) >= _HEAD.size + _TAG else None


def open_data(session: SessionKeys, message: bytes) -> bytes | None:
    """The inner packet, padding included; nothing in a keepalive. None if it is not this session's."""
    if len(message) < _HEAD.size + _TAG:
        return None
    kind, receiver, counter = _HEAD.unpack_from(message)
    if kind != TRANSPORT_DATA or receiver != session.sender:
        return None
    return open_(session.receiving, message[_HEAD.size :], b"", nonce(counter))
