"""The `[Interface]` section of a configuration that is imported: the file's own key and addresses, which no peer has.

It also tells a client's own configuration file, whose one peer is the gateway: that peer has an endpoint, and the
client's address lies in its allowed IPs, or the client gets a name server (`DNS`).
"""

from __future__ import annotations

import contextlib

from wgjit.errors import InvalidValue
from wgjit.management.own import Interface, Own
from wgjit.model import Peer, PrivateKey
from wgjit.wire.addresses import parse_interface

HOOKS = ("preup", "postup", "predown", "postdown")
"""wg-quick's keys for commands, in small letters."""

_AMNEZIA = frozenset(("jc", "jmin", "jmax", *(f"{letter}{n}" for letter in "shi" for n in range(1, 6))))


class OwnInterface:
    """What is known of the file's `[Interface]` so far. The private key is turned into the public key, and not kept."""

    def __init__(self) -> None:
        self.own = Own()
        self.hooks: list[int] = []
        """Lines of commands that wg-quick runs, and an import does not take over."""
        self.is_amnezia = False
        """Whether the interface has settings of AmneziaWG."""
        self._has_name_server = False

    def set(self, line: int, setting: str) -> None:
        """Take a line `Key = value`. A value that is malformed is ignored, since the import does not take it."""
        key, _, value = (part.strip() for part in setting.partition("="))
        match key.lower():
            case "privatekey":
                with contextlib.suppress(InvalidValue):
                    self.own |= Own(frozenset([PrivateKey.parse(value).public()]))
            case "address":
                for text in filter(None, map(str.strip, value.split(","))):
                    with contextlib.suppress(InvalidValue):
                        self.own |= Own(addresses=(parse_interface(text),))
            case "dns" if value:
                self._has_name_server = True
            case hook if hook in HOOKS and value:
                self.hooks.append(line)
            case other if other in _AMNEZIA:
                self.is_amnezia = True

    def notes(self) -> list[str]:
        """What a person should know of what an import does not take from this section."""
        notes = []
        if self.hooks:
            lines = ", ".join(map(str, self.hooks[:10])) + (", ..." if len(self.hooks) > 10 else "")
            notes.append(
                f"line{'s' if len(self.hooks) > 1 else ''} {lines}: commands of wg-quick (PreUp, PostUp, PreDown, "
                "PostDown) were passed over, since wgjit runs none; for forwarding and NAT make a service of them, or "
                "rules of nft that stay"
            )
        if self.is_amnezia:
            notes.append(
                "the interface has settings of AmneziaWG (Jc, S1, H1, ...); wgjit knows plain WireGuard alone, and "
                "does not recognise the handshakes of such clients"
            )
        return notes

    def check(self, peer: Peer, *, has_endpoint: bool) -> None:
        """Raise InvalidValue for a peer that is the gateway of this client, or has the file's own key or address."""
        if has_endpoint and (self._has_name_server or any(_holds(peer, own) for own in self.own.addresses)):
            key = next(iter(self.own.keys), "KEY")
            addresses = ",".join(str(own.ip) for own in self.own.addresses) or "ADDRESS"
            raise InvalidValue(
                "this is a client's own configuration, and its [Peer] is the gateway; register the client instead: "
                f"wgjit peer add NAME --public-key {key} --allowed-ips {addresses}"
            )
        self.own.check(peer)


def _holds(peer: Peer, own: Interface) -> bool:
    return any(prefix.version == own.version and own.ip in prefix for prefix in peer.allowed_ips)
