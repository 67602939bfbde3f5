"""A registry for wgjit gateways in one file: what docs/REMOTE.md asks of a service, and nothing more.

    python registry_server.py peers.json --port 8443 --certificate cert.pem --key key.pem --token-file token

`peers.json` is an object: public key (base64) → the peer's fields. When the file changes, gateways hear which keys did.
Needs starlette, sse-starlette and uvicorn, which come with wgjit.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEPT = 10_000
"""Events that a gateway may have missed and still hear."""


class Registry:
    """The file's peers, and what has changed since the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.peers: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []  # kind and public key; its place is its number
        self.news = asyncio.Condition()
        self.run = hashlib.sha256(str(path.stat()).encode()).hexdigest()[:8]  # numbers of another run mean nothing

    async def follow(self) -> None:
        """Read the file again whenever it has changed."""
        seen = None
        while True:
            if (now := self.path.stat().st_mtime_ns) != seen:
                seen = now
                await self.read()
                print("read", now, flush=True)
            await asyncio.sleep(0.1)

    async def read(self) -> None:
        try:
            peers = json.loads(self.path.read_text())
        except ValueError:
            return  # somebody is writing it
        before, self.peers = self.peers, peers
        for key in before.keys() | peers.keys():
            if before.get(key) != peers.get(key):
                kind = "removed" if key not in peers else "updated" if key in before else "added"
                self.events.append((kind, key))
        async with self.news:
            self.news.notify_all()


def application(registry: Registry, token: str) -> Starlette:
    """The two addresses that a gateway asks."""

    def allowed(request: Request) -> bool:
        return hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {token}")

    async def peer(request: Request) -> Response:
        """GET /v1/peers/KEY: the key in base64url without padding."""
        if not allowed(request):
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        name = request.path_params["key"]
        key = base64.b64encode(base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))).decode()
        print("asked", key, flush=True)
        fields = registry.peers.get(key)
        if fields is None:  # a 404 counts only if it says what is missing
            problem = {"type": "no-such-peer", "title": "No such peer", "status": 404, "public_key": key}
            return JSONResponse(problem, 404, media_type="application/problem+json")
        answer = json.dumps({"public_key": key, **fields}).encode()
        etag = f'"{hashlib.sha256(answer).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        return Response(answer, media_type="application/json", headers={"ETag": etag})

    async def changes(request: Request) -> Response:
        """GET /v1/changes: server-sent events, from Last-Event-ID on."""
        if not allowed(request):
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        last = request.headers.get("last-event-id", "")
        run, _, number = last.partition("-")
        known = run == registry.run and number.isdigit() and len(registry.events) - int(number) <= KEPT
        return EventSourceResponse(stream(int(number) if known else None, lost=bool(last)), ping=15)

    async def stream(after: int | None, lost: bool) -> AsyncIterator[dict[str, str]]:
        place = len(registry.events) if after is None else after
        yield {"event": "open", "id": f"{registry.run}-{place}", "data": "{}"}
        if after is None and lost:  # who comes without an id knows by itself that anything may have changed
            yield {"event": "reset", "id": f"{registry.run}-{place}", "data": "{}"}
        while True:
            for kind, key in registry.events[place:]:
                place += 1
                yield {"event": kind, "id": f"{registry.run}-{place}", "data": json.dumps({"public_key": key})}
            async with registry.news:
                while len(registry.events) == place:
                    await registry.news.wait()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await registry.read()
        registry.events.clear()  # those peers are no news
        following = asyncio.create_task(registry.follow())
        yield
        following.cancel()

    routes = [Route("/v1/peers/{key}", peer), Route("/v1/changes", changes)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    given = parser.parse_args()
    uvicorn.run(
        application(Registry(given.peers), given.token_file.read_text().strip()),
        host=given.host,
        port=given.port,
        ssl_certfile=given.certificate,
        ssl_keyfile=given.key,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
