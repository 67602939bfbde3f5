"""Finds the caller's mistakes in a list of peer changes before any of it is sent.

Every device uses this function, so all refuse the same lists, and a list with a mistake changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from wgjit.errors import InvalidValue
from wgjit.model import Endpoint, PeerChange, PrivateKey


def check_changes(changes: Sequence[PeerChange]) -> None:
    """Raise InvalidValue, which names the peer and the field, for a value that no WireGuard interface can hold."""
    for change in changes:
        keepalive, endpoint = change.keepalive, change.endpoint
        if keepalive is not None and not 0 <= keepalive <= 0xFFFF:
            raise InvalidValue(f"peer {change.public_key}: keepalive {keepalive}: must be 0 (off) to 65535 seconds")
        if endpoint is not None and not _is_sound(endpoint):
            raise InvalidValue(
                f"peer {change.public_key}: endpoint: the address must be 4 or 16 packed bytes, "
                "the port 0 to 65535, the scope an interface index"
            )


def check_interface(private_key: bytes | None, listen_port: int | None) -> PrivateKey | None:
    """Check an interface's own settings and seal the key. Raises InvalidValue."""
    if listen_port is not None and not 0 <= listen_port <= 0xFFFF:
        raise InvalidValue(f"listen port {listen_port}: must be 1 to 65535, or 0 for a free one")
    return None if private_key is None else PrivateKey(private_key)


def _is_sound(endpoint: Endpoint) -> bool:
    address, port, scope = endpoint
    return len(address) in (4, 16) and 0 <= port <= 0xFFFF and 0 <= scope <= 0xFFFFFFFF
