"""The requests to a remote registry: one for each key, and one for the stream of its events.

The client follows no redirects, and uses no proxies or credentials of the environment, so that the token goes to
`store.url` only. No error and no log line holds the token or a body.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from wgjit.errors import ConfigError, StoreUnreachable
from wgjit.model import PublicKey
from wgjit.stores.remote.answer import MOST, Answer, read_answer
from wgjit.wire.key_text import shown

PATIENCE = 4.0
"""Seconds for one request, from the first byte to the last. This is less than a client's retry of 5 s."""

SILENCE = 60.0
"""Seconds without a byte after which the stream of events counts as dead."""

CONNECTIONS = 32
"""Greatest number of connections, without the event stream's. A service limits them, and each costs a TLS handshake."""


class RegistryClient:
    """Asks one service. All methods belong to one event loop; any thread may make the object."""

    def __init__(self, url: str, *, token_file: Path | None, ca_file: Path | None) -> None:
        """Raises ConfigError if a file cannot be used."""
        self._url = url
        self._token_file = token_file
        self._token = _read_token(token_file)
        self._http = httpx.AsyncClient(
            verify=_tls(ca_file),
            timeout=httpx.Timeout(PATIENCE),
            limits=httpx.Limits(
                max_connections=CONNECTIONS + 1, max_keepalive_connections=CONNECTIONS, keepalive_expiry=SILENCE
            ),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "wgjit"},
        )

    async def ask(self, key: PublicKey, etag: str | None) -> Answer:
        """Ask for a peer. With the ETag of the known answer, the new answer may be Unchanged.

        Raises StoreUnreachable if there is no answer within `PATIENCE`, StoreError if the answer cannot be used.
        """
        name = base64.urlsafe_b64encode(key).decode("ascii").rstrip("=")
        # no-cache: an older answer from a cache on the way is of no use
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        if etag is not None:
            headers["If-None-Match"] = etag
        try:
            async with asyncio.timeout(PATIENCE):
                status, answer, body = await self._get(f"/peers/{name}?preshared_key=true", headers)
                if status == 401 and self.read_token_again():
                    status, answer, body = await self._get(f"/peers/{name}?preshared_key=true", headers)
        except TimeoutError:
            raise StoreUnreachable(f"store.url: {self._url} does not answer within {PATIENCE:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise self.explain(error) from error
        if status == 304 and etag is None:
            raise StoreUnreachable("store.url: the service answers 304 to a question without ETag")
        return read_answer(status, answer, body, key, time.time())

    async def _get(self, path: str, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body. Tries once more if a connection from before turns out to be dead."""
        try:
            return await self._get_once(path, headers)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            return await self._get_once(path, headers)

    async def _get_once(self, path: str, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        async with self._http.stream("GET", self._url + path, headers=headers | self._authorization()) as response:
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST:
                    raise StoreUnreachable(f"store.url: an answer of more than {MOST} bytes; it is one peer's only")
            return response.status_code, response.headers, body

    @asynccontextmanager
    async def events(self, last_id: str | None) -> AsyncIterator[httpx.Response]:
        """The response with the stream of events, which goes on after the event `last_id` if that is given."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        timeout = httpx.Timeout(PATIENCE, read=SILENCE)
        async with self._http.stream(
            "GET", f"{self._url}/changes", headers=headers | self._authorization(), timeout=timeout
        ) as response:
            yield response

    def _authorization(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def read_token_again(self) -> bool:
        """Read the token file again after the service has refused the token. Returns whether the token is another."""
        try:
            token = _read_token(self._token_file)
        except ConfigError:
            return False
        changed, self._token = token != self._token, token
        return changed

    def explain(self, error: Exception) -> StoreUnreachable:
        """The error for a failed connection, with advice."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return StoreUnreachable(
                    f"store.url: {self._url}: its certificate is refused: {cause.verify_message}; "
                    "check store.ca_file, and that the certificate is valid for the name in store.url"
                )
            if isinstance(cause, ssl.SSLError):
                return StoreUnreachable(f"store.url: {self._url}: TLS fails: {cause.reason or cause}")
            if isinstance(cause, socket.gaierror):
                return StoreUnreachable(f"store.url: {self._url}: its name is not found: {cause.strerror}")
            if isinstance(cause, ConnectionRefusedError):
                return StoreUnreachable(f"store.url: {self._url}: nobody listens there (connection refused)")
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.TimeoutException):
            return StoreUnreachable(f"store.url: {self._url} does not answer within {PATIENCE:g} s")
        return StoreUnreachable(f"store.url: {self._url}: {str(error) or type(error).__name__}")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def _read_token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise ConfigError(f"store.token_file: {shown(path)}: {error.strerror}") from None
    if not re.fullmatch(r"[!-~]+", token):
        raise ConfigError(f"store.token_file: {shown(path)}: holds no token; write it there, in one line of ASCII")
    return token


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """Python's default TLS settings: certificates and names are checked; at least TLS 1.2."""
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except ssl.SSLError:
        raise ConfigError(f"store.ca_file: {shown(ca_file)}: holds no certificates (PEM)") from None
    except OSError as error:
        raise ConfigError(f"store.ca_file: {shown(ca_file)}: {error.strerror}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
