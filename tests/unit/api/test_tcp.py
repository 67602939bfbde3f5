"""The listener for TCP, as asyncio sees it."""

from __future__ import annotations

import asyncio
import socket

from wgjit.api.server import _tcp_socket


def test_no_answer_waits_for_the_other_ends_acknowledgement() -> None:
    """Nagle's algorithm is off on each connection; else the second write of an answer waits 40 ms."""

    async def option() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = _tcp_socket("127.0.0.1:0")
        async with await asyncio.start_server(note, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                return await accepted
            finally:
                writer.close()

    assert asyncio.run(option()) == 1
