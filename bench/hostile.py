"""Hostile connections and slow imports for `bench.api`: `python -m bench.hostile HOST PORT COUNT IMPORTS`.

It is a separate process. Of COUNT connections, a third never send a byte, a third send a TLS handshake a byte at a
time, and a third finish the handshake and then send a request's head a byte at a time. They come from `SOURCES`
addresses of 127.0.0.0/8. A connection that the server ends comes again after `AGAIN`. IMPORTS slow imports start before
these and send a few lines per second. Their tokens are read from standard input, one per line, and each token has its
own address. The process prints `all there` when each connection has been there once. When standard input ends, it
prints its counts as JSON and ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections import Counter
from contextlib import suppress

from wgjit.api.entrance.descriptors import raise_limit

SOURCES = 16
"""Addresses that the strangers come from."""

AGAIN = 1.0
"""Seconds until one that was hung up on comes again."""

_DRIP = 0.5
"""Seconds between two bytes, or lines, of a slow one."""

_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
_HEAD = b"GET /v1/count HTTP/1.1\r\nHost: wgjit\r\nX-Slow: "
_LINE = b'{"public_key": "aGFuZGVkIG91dCBieSB0aGUgb2ZmaWNlIHJvdXRlci4=", "allowed_ips": ["10.9.0.1/32"]}\n'


class Crowd:
    """All of them. `counts`: how often each kind came, and was hung up on or answered."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._trusting.check_hostname = False
        self._trusting.verify_mode = ssl.CERT_NONE
        self.counts: Counter[str] = Counter()

    async def stranger(self, number: int, came: asyncio.Event) -> None:
        """One that has no token; never ends by itself."""
        kind = ("silent", "handshake", "head")[number % 3]
        source = f"127.0.2.{1 + number % SOURCES}"
        while True:
            with suppress(OSError, EOFError):
                reader, writer = await asyncio.open_connection(
                    *self._address,
                    local_addr=(source, 0),
                    ssl=self._trusting if kind == "head" else None,
                    ssl_shutdown_timeout=0.1 if kind == "head" else None,
                )
                self.counts[f"{kind}: connections"] += 1
                came.set()
                try:
                    await self._drip(reader, writer, {"silent": b"", "handshake": _HELLO, "head": _HEAD}[kind])
                finally:
                    writer.close()
            came.set()
            self.counts[f"{kind}: hung up on"] += 1
            await asyncio.sleep(AGAIN)

    async def importer(self, token: str, source: str, came: asyncio.Event) -> None:
        """One that has a token, and much time. `came` is set when it was let in once."""
        head = (
            "POST /v1/peers/import HTTP/1.1\r\nHost: wgjit\r\nContent-Type: application/x-ndjson\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 1000000000\r\n\r\n"
        )
        while True:
            with suppress(OSError, EOFError):
                reader, writer = await asyncio.open_connection(
                    *self._address, local_addr=(source, 0), ssl=self._trusting, ssl_shutdown_timeout=0.1
                )
                writer.write(head.encode())
                self.counts["import: connections"] += 1
                came.set()
                answering = asyncio.create_task(reader.read(12))
                while not answering.done():
                    writer.write(_LINE * 10)
                    await asyncio.wait({answering}, timeout=_DRIP)
                self.counts[f"import: {answering.result()[9:].decode() or 'hung up on'}"] += 1
                writer.close()
            await asyncio.sleep(AGAIN)

    async def _drip(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Send a byte at a time until the server hangs up."""
        ended = asyncio.create_task(reader.read())
        for place in range(1 << 30):
            if data:
                writer.write(data[place : place + 1] or b"x")
            await asyncio.wait({ended}, timeout=_DRIP if data else None)
            if ended.done():
                ended.exception()
                return


async def main(host: str, port: int, count: int, imports: int) -> None:
    """See the head of this file."""
    raise_limit()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # whoever is hung up on, however
    tokens = [sys.stdin.readline().strip() for _ in range(imports)]
    crowd = Crowd(host, port)
    came = [asyncio.Event() for _ in range(count + imports)]
    sources = {token: f"127.0.3.{1 + number}" for number, token in enumerate(dict.fromkeys(tokens))}
    tasks = [
        asyncio.create_task(crowd.importer(token, sources[token], came[count + number]))
        for number, token in enumerate(tokens)
    ]
    for each in came[count:]:
        await each.wait()
    tasks += [asyncio.create_task(crowd.stranger(number, came[number])) for number in range(count)]
    for each in came[:count]:
        await each.wait()
    print("all there", flush=True)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(crowd.counts), flush=True)


if __name__ == "__main__":
    socket.setdefaulttimeout(30)
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
