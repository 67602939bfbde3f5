"""A registry elsewhere that answers what a test wants it to: any header, any status, or not before it is let."""

from __future__ import annotations

import base64
import ipaddress
import json
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wgjit.model import Peer, PrivateKey


def peers(count: int) -> list[Peer]:
    """As many peers, each with an address of its own."""
    first = ipaddress.IPv4Address("10.8.0.2")
    return [
        Peer(PrivateKey.generate().public(), (ipaddress.ip_network(f"{first + number}/32"),)) for number in range(count)
    ]


class ScriptedService:
    """On http://127.0.0.1, for as long as `running` lasts. What a test sets counts from the next question on."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        """Of each answer 200 and 304."""
        self.fields: dict[str, Any] = {}
        """Said of each peer, over what is registered."""
        self.refusal: tuple[int, dict[str, str]] | None = None
        """Status and headers that are answered instead."""
        self.stream_status = 200
        """Of the stream of events; 404: there is none."""
        self.held: set[str] = set()
        """Keys (base64) whose answers wait for `let_go`."""
        self.let_go = threading.Event()
        self.asked: list[tuple[str, dict[str, str]]] = []
        """Key and headers of each question, in order."""
        self.waiting: Counter[str] = Counter()
        """Questions whose answer is held back."""
        self.streams_asked = 0
        self._peers: dict[str, dict[str, Any]] = {}
        self._streams: list[queue.Queue[bytes | None]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def register(self, *peers: Peer) -> None:
        """Without telling anybody."""
        for peer in peers:
            self._peers[str(peer.public_key)] = {"allowed_ips": [str(prefix) for prefix in peer.allowed_ips]}

    def tell(self, event: str, number: int, **data: object) -> None:
        """Send an event to all who follow."""
        for stream in self._streams:
            stream.put(f"event: {event}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode())

    def end_streams(self) -> None:
        """Hang up on all who follow."""
        for stream in self._streams:
            stream.put(None)
        self._streams.clear()

    def questions(self, peer: Peer) -> list[dict[str, str]]:
        """The headers of each question for this peer."""
        return [headers for key, headers in self.asked if key == str(peer.public_key)]

    @contextmanager
    def running(self) -> Iterator[ScriptedService]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.let_go.set()
            self.end_streams()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, name: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for the key in base64url."""
        key = base64.b64encode(base64.urlsafe_b64decode(name + "=")).decode()
        self.asked.append((key, headers))
        if key in self.held:
            with self._lock:
                self.waiting[key] += 1
            self.let_go.wait()
        if self.refusal is not None:
            return *self.refusal, b"{}"
        if (peer := self._peers.get(key)) is None:
            return 404, {"Content-Type": "application/problem+json"}, b'{"type": "no-such-peer"}'
        body = json.dumps({"public_key": key, **peer, **self.fields}).encode()
        return 200, {"Content-Type": "application/json", **self.headers}, body

    def follow(self) -> queue.Queue[bytes | None]:
        """A stream that has begun."""
        stream: queue.Queue[bytes | None] = queue.Queue()
        stream.put(b"event: open\nid: 0\ndata: {}\n\n")
        self._streams.append(stream)
        return stream


def _handler(service: ScriptedService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/v1/changes":
                self._stream()
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer, body = service.answer(path.rpartition("/")[2], headers)
            self._begin(status, {**answer, "Content-Length": str(len(body))})
            self.wfile.write(body)

        def _stream(self) -> None:
            service.streams_asked += 1
            if service.stream_status != 200:
                self._begin(service.stream_status, {"Content-Length": "0"})
                return
            self._begin(200, {"Content-Type": "text/event-stream", "Connection": "close"})
            stream = service.follow()
            while (part := stream.get()) is not None:
                self.wfile.write(part)
                self.wfile.flush()
            self.close_connection = True

        def _begin(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    return Handler
