"""The caller of a request, and its scope. A caller on the Unix socket may do everything; on TCP its token says what.

| scope     | what a caller with this scope may do                                                    |
| --------- | --------------------------------------------------------------------------------------- |
| `read`    | read peers, but never a preshared key                                                   |
| `write`   | also change peers                                                                       |
| `admin`   | everything, also tokens, the audit log and preshared keys                               |
| `gateway` | read peers and preshared keys; for a gateway that uses this registry                    |
"""

from __future__ import annotations

import ipaddress
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from anyio import to_thread

from wgjit.api.entrance.notices import Notices
from wgjit.api.entrance.rates import Rates
from wgjit.api.entrance.threads import Threads
from wgjit.api.known_tokens import KnownTokens
from wgjit.api.problems import Kind, Problem
from wgjit.api.registries import Registries
from wgjit.stores.entries import Author, Scope

_FAILURES = 5.0
"""Failed authentications per second of one source; twice as many at once. Beyond that, a request of the source without
a valid token costs the registry nothing, and its tokens are compared with the valid ones in memory: those behind the
same address who have a token are served all the same."""

_TOLD = 20
"""Failed authentications that are logged per minute. The rest is only counted."""

_COVERS = {
    Scope.READ: {Scope.READ},
    Scope.WRITE: {Scope.READ, Scope.WRITE},
    Scope.GATEWAY: {Scope.READ, Scope.GATEWAY},
    Scope.ADMIN: {Scope.READ, Scope.WRITE, Scope.GATEWAY, Scope.ADMIN},
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. `is_valid` says during the request whether its token is still valid, and may read the
    registry for that."""

    author: Author
    scope: Scope
    is_valid: Callable[[], bool] = lambda: True
    is_local: bool = False
    """True if the request came over the Unix socket."""

    def may(self, scope: Scope) -> bool:
        """Whether this caller's scope covers another scope."""
        return scope in _COVERS[self.scope]

    def need(self, scope: Scope) -> None:
        """Raise the problem that names the missing scope, if this caller does not have it."""
        if not self.may(scope):
            raise Problem(
                Kind.SCOPE,
                f"this needs a token of scope {scope.value}; this one has scope {self.scope.value}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope.value}"'},
                more={"scope": scope.value},
            )


@lru_cache(maxsize=256)
def _user(uid: int) -> str:
    try:
        return f"socket uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"socket uid {uid}"


class Gatekeeper:
    """Finds the caller of a request from its ASGI scope. A token without a rate of its own may send `rate` requests per
    second, a token of scope `gateway` `gateway_rate`."""

    def __init__(
        self,
        registries: Registries,
        rate: float,
        threads: Threads,
        notices: Notices,
        gateway_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registries = registries
        self._threads = threads
        self._notices = notices
        self._rate = rate
        self._gateway_rate = gateway_rate or rate
        self._clock = clock
        self._requests = Rates()
        self._failures = Rates()
        self._known = KnownTokens(registries, threads, clock)

    async def admit(self, scope: Any) -> Caller:
        """The caller. From now on the connection counts for this caller. Raises Problem: 401, 429, 503."""
        uid = scope.get("state", {}).get("uid")
        if uid is not None:
            caller = Caller(Author(_user(uid)), Scope.ADMIN, is_local=True)
            _prove(scope, caller)
            return caller
        source = source_of(scope)
        text = _bearer(scope)
        wait = self._failures.wait(source, _FAILURES, self._clock())
        if wait and (text is None or not await self._known.has(text)):
            _doubt(scope)
            raise too_often(wait, "too many failed authentications from this address")
        token = None
        if text is not None:
            token = await to_thread.run_sync(self._authenticate, text, limiter=self._threads.authentication)
        if token is None:
            _doubt(scope)
            self._failures.take(source, _FAILURES, self._clock())
            shown = "none" if text is None else "wrong"
            self._notices.tell("authentication failed", _TOLD, "info", source=source, token=shown)
            raise Problem(
                Kind.UNAUTHENTICATED,
                "send Authorization: Bearer TOKEN; the token may be wrong, expired or revoked",
                headers={"WWW-Authenticate": "Bearer" if text is None else 'Bearer error="invalid_token"'},
            )
        rate = token.rate or (self._gateway_rate if token.scope is Scope.GATEWAY else self._rate)
        if wait := self._requests.take(token.id, rate, self._clock()):
            raise too_often(wait, "this token asks more often than it may")
        author = Author(f"token {token.name} ({token.id})")
        caller = Caller(author, token.scope, lambda: self._authenticate(text or "") is not None)
        _prove(scope, caller)
        return caller

    def _authenticate(self, text: str) -> Any:
        with self._registries.use() as registry:
            return registry.tokens.authenticate(text, time.time())


def _prove(scope: Any, caller: Caller) -> None:
    """Count the connection for this caller. Raises Problem if the caller has too many connections."""
    prove = scope.get("state", {}).get("prove")
    if prove is not None and not prove(caller.author.actor):
        detail = "you have as many connections as anybody may; use those that are open for more than one request"
        raise Problem(Kind.OVERLOADED, detail, headers={"Retry-After": "5", "Connection": "close"})


def _doubt(scope: Any) -> None:
    """Count the connection for no caller any more."""
    doubt = scope.get("state", {}).get("doubt")
    if doubt is not None:
        doubt()


def too_often(wait: float, detail: str) -> Problem:
    """The problem that tells a caller to wait so many seconds."""
    seconds = max(1, int(wait) + (wait > int(wait)))
    return Problem(Kind.RATE, f"{detail}; try again in {seconds} s", headers={"Retry-After": str(seconds)})


def source_of(scope: Any) -> str:
    """The source of a request, as rates and places count it."""
    client = scope.get("client")
    return source_of_host(client[0] if client else "")


@lru_cache(maxsize=4096)
def source_of_host(host: str) -> str:
    """The source of an address: an IPv4 address, or an IPv6 /64, because one host usually has a whole /64."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _bearer(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, text = value.decode("latin-1").partition(" ")
            return text.strip() if kind.lower() == "bearer" else None
    return None
