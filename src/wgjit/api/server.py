"""Starts and ends the servers of the API: listeners, TLS, signals.

The Unix socket always exists. TCP needs TLS, also on loopback. SIGHUP reads the certificate again, and connections stay
open. SIGTERM and SIGINT end the process: first the streams end, then the requests, all within five seconds.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from wgjit.api.app import create_app
from wgjit.api.entrance import descriptors, threads
from wgjit.api.entrance.listener import Server
from wgjit.api.entrance.places import Bounds, Places
from wgjit.api.entrance.protocol import Protocol
from wgjit.api.registries import Registries
from wgjit.api.routes import streams
from wgjit.api.service import IMPORTS, Service
from wgjit.config import ApiSettings, run_folder
from wgjit.errors import ConfigError
from wgjit.management.site import Site
from wgjit.notify import Notifier
from wgjit.wire.key_text import shown

log = structlog.get_logger()

RATE, SOURCE_RATE = 64.0, 32.0
"""New TCP connections per second of all sources (see `places.Bounds`), and of one. A TLS handshake takes about 1 ms."""

UNIX_BOUNDS = Bounds(unproven=128, of_source=112, proven=128, of_caller=112)
"""Bounds of the Unix socket, where a user is both source and caller. They add up to `descriptors.MOST_UNIX`."""

_GRACE = 3
"""Seconds that running answers get at the end."""

_LAST = 4.5
"""Seconds after which the process ends even if a transaction still runs. SQLite rolls that transaction back."""


def serve(interface: str, site: Site, ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called once, when the API answers requests.

    The registry file must exist. Raises ConfigError.
    """
    for name in ("uvicorn.error", "asyncio"):  # they log malformed requests, and errors that we log ourselves
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asyncio.run(_serve(interface, site, ready))


async def _serve(interface: str, site: Site, ready: Callable[[dict[str, Any]], None]) -> None:
    loop, stop, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    limit = descriptors.raise_limit()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    settings = site.config.api
    notifier = Notifier()
    with ExitStack() as stack:
        service = Service(interface, site, Registries(site.where, site.pools))
        stack.callback(service.registries.close)
        context = None if settings.listen is None else _context(settings)
        path = settings.socket or run_folder() / f"{interface}.api.sock"
        unix = stack.enter_context(_unix_socket(path, int(settings.socket_mode, 8)))
        listeners: list[tuple[socket.socket, ssl.SSLContext | None, Bounds]] = [(unix, None, UNIX_BOUNDS)]
        about: dict[str, Any] = {"interface": interface, "socket": str(path), "listen": None, "store": str(site.where)}
        if settings.listen is not None:
            most = descriptors.tcp_connections(limit, threads.ALL, IMPORTS, streams.MOST)
            tcp = _tcp_socket(settings.listen)
            stack.callback(tcp.close)
            listeners.append((tcp, context, Bounds.of(most, RATE, SOURCE_RATE)))
            host, port = tcp.getsockname()[:2]
            about["listen"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        async with service.running():
            app = create_app(service)
            loop.set_exception_handler(partial(_on_loop_error, service))
            servers = [
                Server(_uvicorn(app), listening, secure, Places(bounds), service.notices)
                for listening, secure, bounds in listeners
            ]
            service.load = partial(_load_of, servers)
            running = [asyncio.create_task(server.serve()) for server in servers]
            while not all(server.started for server in servers):
                if failed := [task for task in running if task.done()]:
                    failed[0].result()
                await asyncio.sleep(0.01)
            # The objects so far stay for good. A garbage collection among them took 0.2 s and delayed all answers.
            gc.collect()
            gc.freeze()
            ready(about)
            notifier.ready(f"registry {site.where}")
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


def _uvicorn(app: Any) -> uvicorn.Config:
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
    )


def _on_loop_error(service: Service, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the event loop, without the exception's own text, which may repeat what a client sent."""
    error = context.get("exception")
    kind = None if error is None else type(error).__name__
    service.notices.tell("the event loop reports an error", 10, "error", what=context.get("message"), kind=kind)


def _load_of(servers: list[Server]) -> dict[str, Any]:
    """The numbers of connections: unproven, proven, and refused by reason."""
    figures = {}
    for name, server in zip(("unix", "tcp"), servers, strict=False):
        unproven, proven = server.places.taken
        figures[name] = {"unproven": unproven, "proven": proven, "refused": dict(server.places.refused)}
    return {"connections": figures}


async def _read_again(again: asyncio.Event, context: ssl.SSLContext | None, settings: ApiSettings) -> None:
    """Read the certificate again at each SIGHUP. If it cannot be used, the old certificate stays."""
    while True:
        await again.wait()
        again.clear()
        if context is None:
            continue
        try:
            _context(settings)  # a test run: half of a bad pair would stay in the context that is in use
            _load(context, settings)
        except ConfigError as error:
            log.error("the certificate stays as it was", error=str(error))
        else:
            log.info("certificate read again")


def _context(settings: ApiSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION  # a connection's handshake is counted once, so allow only one
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: ApiSettings) -> None:
    """Load certificate and key into a context. Raises ConfigError, which names the file at fault."""
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
    # asyncio switches Nagle's delay off (TCP_NODELAY) only if the protocol is named here. With that delay, an answer
    # (two writes) often waits 40 ms for the client's delayed acknowledgement.
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
    """A listening Unix socket while the block runs. An unused old socket is replaced. Raises ConfigError."""
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
