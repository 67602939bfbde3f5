"""From nothing to a served socket, and back: listeners, TLS, signals.

The Unix socket is always there; TCP only with TLS, also on loopback. SIGHUP reads the certificate again, and sessions
stay. SIGTERM and SIGINT end it: streams first, then what is being answered, within five seconds whatever happens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from wgjit.api.app import create_app
from wgjit.api.problems import Kind, Problem
from wgjit.api.registries import Registries
from wgjit.api.service import Service
from wgjit.config import ApiSettings, run_folder
from wgjit.errors import ConfigError
from wgjit.management.site import Site
from wgjit.notify import Notifier
from wgjit.stores.tokens import Scope
from wgjit.wire.key_text import shown

log = structlog.get_logger()

HEAD_TIME = 10.0
"""Seconds for a request's head to come in, from the connection or the answer before on."""

GATEWAY_KEEP_ALIVE = 75
"""Seconds for which a gateway's connection may lie idle: longer than the gateway itself keeps it (60 s), so that the
next client waits for no TLS handshake. Others have uvicorn's 5 s."""

MOST_CONNECTIONS = 1024
"""On each listener; who is beyond is hung up on."""

_GRACE = 3
"""Seconds for answers that are under way at the end."""

_LAST = 4.5
"""Seconds after which the process ends though a transaction goes on: SQLite takes that back."""


class Protocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it; also knows who is at the other end of a Unix socket, and waits for nobody."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Note the user; hang up on one too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        peer = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX:
            _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            self.app_state = {**self.app_state, "uid": uid}
        self._head = self.loop.call_later(HEAD_TIME, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing waits for it any more."""
        self._set_head(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn does; a head that is only begun has its time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._set_head(None)
        elif self._head is None and not self.transport.is_closing():
            self._set_head(self.loop.call_later(HEAD_TIME, self.transport.abort))

    def on_response_complete(self) -> None:
        """From now on the keep-alive timer counts."""
        self._set_head(None)
        scope: Any = self.scope
        caller = scope.get("wgjit.caller")
        if caller is not None and caller.scope is Scope.GATEWAY:
            self.timeout_keep_alive = GATEWAY_KEEP_ALIVE
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets the same kind of answer as all else."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        response = Problem(Kind.MALFORMED, "this is not HTTP/1.1").response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers),
            h11.Data(bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _set_head(self, timer: asyncio.TimerHandle | None) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = timer


class _Server(uvicorn.Server):
    """Signals are ours: there are two servers, and streams to be ended first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(interface: str, site: Site, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called once, when requests are answered.

    The registry file is there. Raises ConfigError.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # strangers' nonsense, and what we log ourselves
    asyncio.run(_serve(interface, site, ready))


async def _serve(interface: str, site: Site, ready: Callable[[dict[str, Any]], None]) -> None:
    loop, stop, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    settings = site.config.api
    notifier = Notifier()
    with ExitStack() as stack:
        service = Service(interface, site, Registries(site.store))
        stack.callback(service.registries.close)
        context = None if settings.listen is None else _context(settings)
        path = settings.socket or run_folder() / f"{interface}.api.sock"
        unix = stack.enter_context(_unix_socket(path, int(settings.socket_mode, 8)))
        listeners: list[tuple[socket.socket, ssl.SSLContext | None]] = [(unix, None)]
        about: dict[str, Any] = {"interface": interface, "socket": str(path), "listen": None, "store": str(site.store)}
        if settings.listen is not None:
            tcp = _tcp_socket(settings.listen)
            stack.callback(tcp.close)
            listeners.append((tcp, context))
            host, port = tcp.getsockname()[:2]
            about["listen"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        async with service.running():
            app = create_app(service)
            servers = [_Server(_uvicorn(app, secure)) for _, secure in listeners]
            running = [
                asyncio.create_task(server.serve([listener]))
                for server, (listener, _) in zip(servers, listeners, strict=True)
            ]
            while not all(server.started for server in servers):
                if failed := [task for task in running if task.done()]:
                    failed[0].result()
                await asyncio.sleep(0.01)
            ready(about)
            notifier.ready(f"registry {site.store}")
            reading = asyncio.create_task(_read_again(again, context, settings))
            await stop.wait()
            notifier.stopping("ending")
            last = threading.Timer(_LAST, os._exit, (1,))
            last.daemon = True
            last.start()
            reading.cancel()
            service.streams.end()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*running)
        log.info("ended")


def _uvicorn(app: Any, context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        ssl_context_factory=None if context is None else lambda config, make: context,
    )


async def _read_again(again: asyncio.Event, context: ssl.SSLContext | None, settings: ApiSettings) -> None:
    """The certificate anew at each SIGHUP; one that cannot be used leaves the old one."""
    while True:
        await again.wait()
        again.clear()
        if context is None:
            continue
        try:
            _context(settings)  # half of a bad pair would stay in the one that is in use
            _load(context, settings)
        except ConfigError as error:
            log.error("the certificate stays as it was", error=str(error))
        else:
            log.info("certificate read again")


def _context(settings: ApiSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: ApiSettings) -> None:
    """Raises ConfigError that names the file at fault."""
    certificate, key = settings.tls_certificate_file, settings.tls_private_key_file
    if certificate is None or key is None:
        raise ConfigError("api.listen: set api.tls_certificate_file and api.tls_private_key_file; TCP is only with TLS")
    for field, path in (("api.tls_certificate_file", certificate), ("api.tls_private_key_file", key)):
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{field}: {shown(path)}: {error.strerror}") from None
        if b"-----BEGIN " not in text:
            raise ConfigError(f"{field}: {shown(path)}: not PEM")
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "not readable"
        raise ConfigError(
            f"api.tls_certificate_file: {shown(certificate)} and api.tls_private_key_file: {shown(key)}: "
            f"no certificate with its own unencrypted key ({reason})"
        ) from None


def _tcp_socket(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off (TCP_NODELAY) only where the protocol is named. With it an answer, which is two
    # writes, often waits 40 ms for the other end's delayed acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, int(port)))
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise ConfigError(f"api.listen: {listen}: {error.strerror}") from None
    return made


@contextmanager
def _unix_socket(path: Path, mode: int) -> Iterator[socket.socket]:
    """Listens there while the block runs; a socket that nobody listens on is replaced. Raises ConfigError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(OSError):
            path.parent.mkdir(mode=0o755, exist_ok=True)
        _clear(path)
        mask = os.umask(0o777 & ~mode)
        try:
            made.bind(str(path))
        finally:
            os.umask(mask)
        own = path.lstat()
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise ConfigError(f"api.socket: {path}: {error.strerror or error}; set it to another path") from None
    except ConfigError:
        made.close()
        raise
    try:
        yield made
    finally:
        made.close()
        with suppress(OSError):
            if os.path.samestat(path.lstat(), own):
                path.unlink()


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"api.socket: {path}: is there and is no socket; set it to another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
    raise ConfigError(f"api.socket: {path}: another server listens there; end it first")
