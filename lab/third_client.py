"""A client that is neither the kernel's WireGuard nor wireguard-go: PyPI's `wireguard-protocol`, in pure Python.

It shares no line with wgjit, and it does some things in its own way: it writes Unix seconds into its timestamps where
others add TAI64's 10 s, so that its clock seems to be 10 s behind. It has no interface: `ping` makes an IP packet,
sends it through the tunnel from a UDP socket of its namespace, and takes the answer out again.
"""

from __future__ import annotations

import ipaddress
import secrets
import select
import time
from typing import Self

from wireguard.exceptions import WireguardException
from wireguard.initiator import Initiator

from lab.echo import Echo
from lab.netns import Namespace
from wgjit.model import Peer, PresharedKey, PrivateKey, PublicKey, parse_allowed_ip

_TICK = 0.02
"""Seconds between two looks at its own timers."""


class ThirdClient:
    """A client with one server and one IPv4 address. A context manager, which closes its socket at the end."""

    def __init__(
        self,
        namespace: Namespace,
        server: PublicKey,
        endpoint: tuple[str, int],
        address: str,
        *,
        private_key: PrivateKey | None = None,
        preshared_key: PresharedKey | None = None,
    ) -> None:
        self.private_key = private_key or PrivateKey.generate()
        self.public_key = self.private_key.public()
        self.preshared_key = preshared_key
        self.address = ipaddress.IPv4Address(address)
        self._server, self._endpoint = server, endpoint
        self._socket = namespace.socket()
        self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def registration(self) -> Peer:
        """The peer that a registry must hold so that this client can connect."""
        prefix = parse_allowed_ip(str(self.address))
        return Peer(self.public_key, (prefix,), preshared_key=self.preshared_key, name="third")

    def forget(self) -> None:
        """Drop the session. The next `ping` begins with a handshake."""
        psk = None if self.preshared_key is None else self.preshared_key.reveal()
        self._session = Initiator(self.private_key.reveal(), bytes(self._server), psk)

    def ping(self, host: str, timeout: float) -> float | None:
        """Seconds until the answer to one ICMP echo request is back, with a handshake before it if there is no session.

        The handshake is tried again as the client's own timers say. None if there is no answer in time.
        """
        echo = Echo(self.address, ipaddress.ip_address(host), secrets.token_bytes(8))
        started, is_sent = time.monotonic(), False
        while time.monotonic() - started < timeout:
            for packet in self._session.update_state():
                self._socket.sendto(packet, self._endpoint)
            if self._may_send() and not is_sent:
                self._session.encode_transport(echo.request)
                is_sent = True
            elif select.select([self._socket], [], [], _TICK)[0] and self._is_answered(echo):
                return time.monotonic() - started
        return None

    def _may_send(self) -> bool:
        """Whether the other side has the session, too. A responder knows it by the first packet (paper, 5.4.6)."""
        is_confirmed = self._session.handshake.initiator or self._session.curr_keypair.recv_count > 0
        return bool(self._session.state_connected and is_confirmed)

    def _is_answered(self, echo: Echo) -> bool:
        """Read one datagram: whether it is the answer."""
        try:
            inner = self._session.decode_packet(self._socket.recv(2048))
        except WireguardException:  # of an older handshake
            return False
        return bool(inner) and echo.is_reply(inner)
