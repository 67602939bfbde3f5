"""Whether the network behind the gateway can be reached: an ICMP echo or a TCP connection, again and again.

A gateway that is reached by its clients and reaches nothing itself is worse than none: with anycast or VRRP its clients
would be served by another one.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import secrets
import socket
import struct
from contextlib import suppress

import structlog

from wgjit.config.addresses import Target
from wgjit.config.settings import HealthSettings

log = structlog.get_logger()

_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence (RFC 792, RFC 4443)
_REQUEST_4, _REPLY_4, _REQUEST_6, _REPLY_6 = 8, 0, 128, 129


class Inside:
    """Tries the target that `health.target` names. Use it on one event loop."""

    def __init__(self, target: Target, settings: HealthSettings) -> None:
        self._target = target
        self._settings = settings
        self._identifier = secrets.randbits(16)
        self._sequence = itertools.count()
        self._missed: int | None = None
        """Tries in a row that failed; None before the first result."""
        self._why = ""
        self._context = structlog.contextvars.get_contextvars()

    def trouble(self) -> str | None:
        """Why the inside counts as out of reach, for people; None if it is reached.

        It counts as reached from the first success on, and as out of reach after `health.failures` failures in a row.
        """
        if self._missed is None:
            return f"{self._target}: no answer yet"
        return self._why if self._missed >= self._settings.failures else None

    async def run(self) -> None:
        """Try until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await self._reach()
                failed = None
            except TimeoutError:
                failed = f"{self._target}: no answer within {self._settings.timeout:g} s"
            except OSError as error:
                failed = f"{self._target}: {_told(error)}"
            self._note(failed)
            await asyncio.sleep(max(0.0, began + self._settings.interval - loop.time()))

    def _note(self, failed: str | None) -> None:
        was_out = self._missed is not None and self._missed >= self._settings.failures
        if failed is None:
            self._missed, self._why = 0, ""
        else:  # before the first success one failure is enough
            self._missed = self._settings.failures if self._missed is None else self._missed + 1
            self._why = failed
        is_out = self._missed >= self._settings.failures
        if is_out and not was_out:
            log.warning(
                "the inside is out of reach: this gateway is unhealthy",
                why=self._why,
                do="see its routes and the target itself (health.target)",
                **self._context,
            )
        elif was_out and not is_out:
            log.info("the inside is reached", target=str(self._target), **self._context)

    async def _reach(self) -> None:
        """Return if the target answers. Raises OSError; waits for ever for an answer that does not come."""
        if self._target.port is None:
            await self._echo()
            return
        _, writer = await asyncio.open_connection(str(self._target.address), self._target.port)
        writer.transport.abort()  # the connection was made: nothing is said on it

    async def _echo(self) -> None:
        is_4 = self._target.address.version == 4
        family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if is_4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        loop = asyncio.get_running_loop()
        sequence = next(self._sequence) & 0xFFFF
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol) as link:
            link.connect((str(self._target.address), 0))  # so that others' answers do not come here
            head = _ECHO.pack(_REQUEST_4 if is_4 else _REQUEST_6, 0, 0, self._identifier, sequence)
            payload = os.urandom(16)
            checksum = _checksum(head + payload) if is_4 else 0  # the kernel makes that of ICMPv6
            await loop.sock_sendall(link, head[:2] + checksum.to_bytes(2, "big") + head[4:] + payload)
            while True:
                packet = await loop.sock_recv(link, 2048)
                answer = packet[(packet[0] & 15) * 4 :] if is_4 and packet else packet
                with suppress(struct.error):
                    kind, _, _, identifier, number = _ECHO.unpack_from(answer)
                    wanted = (_REPLY_4 if is_4 else _REPLY_6, self._identifier, sequence)
                    if (kind, identifier, number) == wanted and answer[_ECHO.size :] == payload:
                        return


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _told(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "this process may not send ICMP; give it CAP_NET_RAW, or a target with a TCP port"
    return os.strerror(error.errno) if error.errno else str(error)  # asyncio has sentences of its own
