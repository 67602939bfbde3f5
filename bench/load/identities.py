"""Who the clients are: private keys in a file that only its owner reads, and the same peers for a registry to import.

One JSON object a line: `private_key` and `address`, `preshared_key` where there is one. The other file has what
`wgjit peer import` takes: public keys, addresses, preshared keys.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.load.client import Identity
from bench.load.sockets import Prefix
from wgjit.errors import InvalidValue
from wgjit.model import Peer, PresharedKey, PrivateKey


def fresh(count: int, prefix: Prefix, *, preshared: bool = False, skip: int = 1) -> list[Identity]:
    """New clients with addresses in order, but for the first `skip` after the prefix's own (the gateway's).

    Raises ValueError for a prefix that is too small.
    """
    if count < 1 or count + skip + 1 > prefix.num_addresses:
        raise ValueError(f"{prefix}: has no room for {count} clients")
    return [
        Identity(
            PrivateKey.generate(), prefix[1 + skip + number], PresharedKey.generate() if preshared else None
        )
        for number in range(count)
    ]  # fmt: skip


def registration(identity: Identity) -> Peer:
    """What a registry must know for this client to get in."""
    return Peer(
        identity.private_key.public(), (ipaddress.ip_network(identity.address),), preshared_key=identity.preshared_key
    )


def save(identities: Iterable[Identity], path: Path) -> None:
    """Write the clients' own file, readable to its owner only. Raises FileExistsError, OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        for identity in identities:
            fields = {"private_key": identity.private_key.reveal_base64(), "address": str(identity.address)}
            if identity.preshared_key is not None:
                fields["preshared_key"] = identity.preshared_key.reveal_base64()
            file.write(json.dumps(fields) + "\n")


def save_registrations(identities: Iterable[Identity], path: Path) -> None:
    """Write what `wgjit peer import --format jsonl` takes. It has preshared keys: readable to its owner only.

    Raises FileExistsError, OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        for identity in identities:
            fields: dict[str, object] = {
                "public_key": str(identity.private_key.public()),
                "allowed_ips": [str(ipaddress.ip_network(identity.address))],
            }
            if identity.preshared_key is not None:
                fields["preshared_key"] = identity.preshared_key.reveal_base64()
            file.write(json.dumps(fields) + "\n")


def load(path: Path) -> Iterator[Identity]:
    """Read what `save` wrote. Raises InvalidValue with file, line and field, never with the key; OSError."""
    with open(path, encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            try:
                fields = json.loads(line)
                preshared = fields.get("preshared_key")
                yield Identity(
                    PrivateKey.parse(fields["private_key"]),
                    ipaddress.ip_address(fields["address"]),
                    None if preshared is None else PresharedKey.parse(preshared),
                )
            except InvalidValue as error:
                raise InvalidValue(f"{path}:{number}: {error}") from None
            except KeyError as error:
                raise InvalidValue(f"{path}:{number}: {error.args[0]} is missing") from None
            except (ValueError, AttributeError, TypeError):
                raise InvalidValue(
                    f"{path}:{number}: not a client; write a JSON object with private_key and address"
                ) from None
