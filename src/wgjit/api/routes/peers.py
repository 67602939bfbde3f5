"""Peers: one at a time, in pages, and all that match a filter."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from starlette.responses import Response

from wgjit.api.problems import about, invalid
from wgjit.api.routes import bodies, etags, handles
from wgjit.api.routes.answers import CallerOf, Key, RawBody, ServiceOf, answer, fingerprint, peer_fields, replay
from wgjit.api.routes.declared import Routes
from wgjit.errors import ConfigError, InvalidValue
from wgjit.management import client_config
from wgjit.management.client_config import Server
from wgjit.model import AllowedIP, Peer, PrivateKey, PublicKey, Standing
from wgjit.stores.entries import AnsweredBefore, Entry, Filter, IdempotentRequest, Scope
from wgjit.stores.label_rules import parse_labels
from wgjit.stores.peer_json import claim_fields, holding_fields
from wgjit.times import parse_expiry


def filter_of(
    label: Annotated[list[str] | None, Query(description="KEY=VALUE. Several: peers with all of them.")] = None,
    state: Annotated[Standing | None, Query(description="Only peers in this state.")] = None,
    name_prefix: Annotated[str | None, Query(description="Only peers whose name begins so.")] = None,
    expires_before: Annotated[
        str | None, Query(description="Only peers that expire before 2027-01-31T12:00:00Z, or within +30d.")
    ] = None,
) -> Filter:
    """The filter of a query. Raises Problem."""
    with about("label"):
        labels = parse_labels(label or [])
    with about("expires_before"):
        moment = None if expires_before is None else parse_expiry(expires_before, time.time(), "expires_before")
    return Filter(labels, state, name_prefix, moment)


Wanted = Annotated[Filter, Depends(filter_of)]
IfMatch = Annotated[str | None, Header(description="The ETag that the peer must still have, else 412.")]
Secrets = Annotated[bool, Query(description="Also show the preshared key. Needs scope admin or gateway.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
_ONE: dict[int | str, dict[str, Any]] = {200: {"model": bodies.PeerBody}}


routes = Routes("peers")

_MADE: dict[int | str, dict[str, Any]] = {201: {"model": bodies.HandedOut}}
_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"model": bodies.OnePeer},
    304: {"description": "The peer is unchanged."},
}
_CLAIM: dict[int | str, dict[str, Any]] = {200: {"model": bodies.PeerClaim}}
_ROTATED: dict[int | str, dict[str, Any]] = {200: {"model": bodies.HandedOut}}


class _Handing:
    """Makes the answer for a peer that is handed out: with the secrets, to send once; without secrets, to store."""

    def __init__(self, private_key: PrivateKey | None, server: Callable[[], Server | None]) -> None:
        self._private_key = private_key
        self._server = None if private_key is None else server()

    def fields(self, entry: Entry) -> dict[str, Any]:
        """The answer's fields with the secrets, which are sent only once."""
        config = None
        if self._server is not None and self._private_key is not None:
            try:
                config = client_config.compose(self._server, entry.peer, self._private_key)
            except ConfigError:  # the peer has no single address, so there is no configuration for a client
                config = None
        secret = None if self._private_key is None else self._private_key.reveal_base64()
        return peer_fields(entry) | {"private_key": secret, "config": config}

    def once(self, key: str | None, mark: bytes, status: int) -> IdempotentRequest | None:
        """The answer to store under an idempotency key, without secrets. None without a key."""
        if key is None:
            return None

        def kept(entry: Entry) -> tuple[int, bytes]:
            return status, json.dumps(peer_fields(entry) | {"private_key": None, "config": None}).encode()

        return IdempotentRequest(key, mark, kept)


@routes.post(
    "/v1/peers",
    scope=Scope.WRITE,
    summary="Register a peer",
    status_code=201,
    responses=_MADE,
)
def create(
    request: Request, service: ServiceOf, caller: CallerOf, body: bodies.NewPeer, raw: RawBody, key: Key
) -> Response:
    """Without `public_key`, a key pair is made. Its `private_key` and `config` are in this answer and nowhere else.
    Without `allowed_ips`, each configured pool gives an address."""
    mark = fingerprint(request, raw)
    prefixes = bodies.prefixes(body.allowed_ips)
    pools = [] if prefixes else service.site.pools
    if not prefixes and not pools:
        raise invalid("allowed_ips: give some, for no pool is configured (pool.ipv4, pool.ipv6)", "allowed_ips")
    for label, value in body.labels.items():
        bodies.label(label, value)
    with about("public_key"):
        private_key, public_key = client_config.keys(body.public_key)
    values = bodies.values(body) | {"public_key": public_key, "allowed_ips": prefixes}
    peer = _checked(lambda: Peer(**values))
    with about("public_key"):
        service.own().check(peer)
    handing = _Handing(private_key, service.server)
    try:
        with service.registries.use() as registry:
            once = handing.once(key, mark, 201)
            peer = registry.peers.hand_out(peer, body.labels, pools, by=caller.author, once=once)
    except AnsweredBefore as before:
        return replay(before.answer, mark)
    entry = Entry(peer, body.labels)
    where = f"/v1/peers/{handles.to_path(peer.public_key)}"
    return answer(handing.fields(entry), 201, {"ETag": etags.tag(entry), "Location": where})


@routes.get(
    "/v1/peers",
    scope=Scope.READ,
    summary="List peers",
    responses={200: {"model": bodies.PeerPage}},
)
def list_(
    service: ServiceOf,
    wanted: Wanted,
    limit: Limit = 100,
    after: Annotated[str | None, Query(description="`next` of the previous page, with the same filter.")] = None,
) -> Response:
    """Peers in the order of their keys; with `name_prefix` by name, with `expires_before` by expiry."""
    with service.registries.use() as registry:
        page = registry.peers.page(wanted, limit, after)
    return answer({"peers": list(map(peer_fields, page.entries)), "next": page.cursor})


@routes.get(
    "/v1/count",
    scope=Scope.READ,
    summary="Count peers",
    responses={200: {"model": bodies.Count}},
)
def count(service: ServiceOf, wanted: Wanted) -> Response:
    """The number of peers. With a filter, the registry visits all peers that match."""
    with service.registries.use() as registry:
        return answer({"count": registry.peers.count(wanted)})


@routes.get(
    "/v1/find",
    scope=Scope.READ,
    summary="Find peers",
    responses={200: {"model": bodies.Found}},
)
def find(
    service: ServiceOf,
    q: Annotated[
        str,
        Query(min_length=1, max_length=1000, description="The beginning of a name or key, an address, or a label."),
    ],
    anywhere: Annotated[bool, Query(description="Also find the text inside of names. This reads all names.")] = False,
    limit: Limit = 20,
) -> Response:
    """The peers that a text means."""
    with service.registries.use() as registry:
        return answer({"peers": list(map(peer_fields, registry.peers.search(q, limit, anywhere=anywhere)))})


@routes.delete(
    "/v1/peers",
    scope=Scope.WRITE,
    summary="Remove all that fit",
    responses={200: {"model": bodies.Removed}},
)
def remove_fitting(
    service: ServiceOf,
    caller: CallerOf,
    wanted: Wanted,
    confirm: Annotated[bool, Query(description="Must be true.")] = False,
) -> Response:
    """The request is refused without a filter, and without `confirm=true`."""
    if wanted.is_empty:
        raise invalid("label: give a filter, such as label=team=guests; this never removes all peers", "label")
    if not confirm:
        raise invalid("confirm: say confirm=true; GET /v1/count tells how many fit", "confirm")
    with service.registries.use() as registry:
        return answer({"removed": registry.peers.remove_fitting(wanted, by=caller.author)})


@routes.get("/v1/peers/{peer}", scope=Scope.READ, summary="Show a peer", responses=_SHOWN)
def show(
    service: ServiceOf,
    caller: CallerOf,
    peer: str,
    preshared_key: Secrets = False,
    if_none_match: Annotated[
        str | None, Header(description="An ETag. The answer is 304 if the peer still has it.")
    ] = None,
) -> Response:
    """`peer` is the key as base64url, or any handle without `/`: name, address, beginning of a key. A gateway may cache
    the answer, because it follows the changes. Its own setting says for how long (`store.time_to_live`)."""
    if preshared_key:
        caller.need(Scope.GATEWAY)
    with service.registries.use() as registry:
        found = handles.find(registry, peer)
        entry = Entry(found.peer, registry.peers.labels(found.peer.public_key))
    keeping = "private" if caller.scope is Scope.GATEWAY else "no-store"
    headers = {"ETag": etags.tag(entry, with_secret=preshared_key), "Cache-Control": keeping}
    if if_none_match is not None and etags.fits(if_none_match, headers["ETag"], weakly=True):
        return Response(status_code=304, headers=headers)
    state = {"claim": claim_fields(found.claim), "holding": holding_fields(found.holding)}
    return answer(peer_fields(entry, preshared_keys=preshared_key) | state, 200, headers)


@routes.patch("/v1/peers/{peer}", scope=Scope.WRITE, summary="Change a peer", responses=_ONE)
def patch(
    service: ServiceOf, caller: CallerOf, peer: str, body: bodies.PeerPatch, if_match: IfMatch = None
) -> Response:
    """A merge patch (RFC 7396): only the given fields change. To change the key, use rotate."""
    change = _Patch(body)
    with about("allowed_ips"):
        service.own().check_prefixes(change.prefixes)
    unchanged = etags.check(if_match)

    def check(before: Entry) -> None:
        unchanged(before)
        change.look(before)

    with service.registries.use() as registry:
        key = handles.find(registry, peer).peer.public_key
        entry = registry.peers.amend(key, change.apply, change.given, change.taken, check, by=caller.author)
    return answer(peer_fields(entry), 200, {"ETag": etags.tag(entry)})


class _Patch:
    """The changes that a merge patch makes to a peer. Raises Problem."""

    def __init__(self, body: bodies.PeerPatch) -> None:
        self._values = bodies.values(body)
        self._takes_all_labels = "labels" in body.model_fields_set and body.labels is None
        self.given: dict[str, str] = {}
        self.taken: list[str] = []
        for label, value in (body.labels or {}).items():
            bodies.label(label, value)
            if value is None:
                self.taken.append(label)
            else:
                self.given[label] = value

    @property
    def prefixes(self) -> tuple[AllowedIP, ...]:
        """The new allowed IPs, empty if they do not change."""
        prefixes: tuple[AllowedIP, ...] = self._values.get("allowed_ips", ())
        return prefixes

    def look(self, before: Entry) -> None:
        """Look at the unchanged peer, in the transaction that changes it."""
        if self._takes_all_labels:
            self.taken += before.labels

    def apply(self, peer: Peer) -> Peer:
        """The changed peer."""
        return _checked(lambda: dataclasses.replace(peer, **self._values))


@routes.delete(
    "/v1/peers/{peer}",
    scope=Scope.WRITE,
    summary="Remove a peer",
    status_code=204,
    response_class=Response,
)
def remove(service: ServiceOf, caller: CallerOf, peer: str, if_match: IfMatch = None) -> Response:
    """Removes the peer with its labels. Its claim stays. Its addresses return to the pool after its quarantine."""
    with service.registries.use() as registry:
        key = handles.find(registry, peer).peer.public_key
        check = etags.check(if_match) if if_match is not None else None
        if not registry.peers.remove_all([key], check, by=caller.author):
            raise handles.no_such_peer(peer)
    return Response(status_code=204)


@routes.post(
    "/v1/peers/{peer}/rotate",
    scope=Scope.WRITE,
    summary="Give a peer another key",
    responses=_ROTATED,
)
def rotate(
    request: Request,
    service: ServiceOf,
    caller: CallerOf,
    peer: str,
    raw: RawBody,
    key: Key,
    body: bodies.Rotation | None = None,
    if_match: IfMatch = None,
) -> Response:
    """All other values stay. Within a second, a gateway refuses the old key and ends its session. `config` holds the
    preshared key, if there is one, because the client cannot connect without it."""
    mark = fingerprint(request, raw)
    with about("public_key"):
        private_key, new = client_config.keys(None if body is None else body.public_key)
        service.own().check_key(new)
    handing = _Handing(private_key, service.server)
    try:
        with service.registries.use() as registry:
            # This comes before the handle is looked up. The handle may be the key that this very request replaced.
            if key is not None and (before := registry.answers.find(key, by=caller.author)):
                return replay(before, mark)
            old: PublicKey = handles.find(registry, peer).peer.public_key
            once = handing.once(key, mark, 200)
            check = etags.check(if_match)
            after = registry.peers.rotate(old, new, check=check, by=caller.author, once=once)
            entry = Entry(after, registry.peers.labels(new))
    except AnsweredBefore as again:
        return replay(again.answer, mark)
    where = f"/v1/peers/{handles.to_path(new)}"
    return answer(handing.fields(entry), 200, {"ETag": etags.tag(entry), "Content-Location": where})


@routes.get(
    "/v1/peers/{peer}/claim",
    scope=Scope.READ,
    summary="Show a peer's claim",
    responses=_CLAIM,
)
def show_claim(service: ServiceOf, peer: str) -> Response:
    """When and where the peer was last proven; null if never. A removed peer keeps its claim; name it by its key."""
    with service.registries.use() as registry:
        key, claim = handles.claim_of(registry, peer)
    return answer({"public_key": str(key), "claim": claim_fields(claim)})


@routes.delete(
    "/v1/peers/{peer}/claim",
    scope=Scope.WRITE,
    summary="Forget a peer's claim",
    responses=_CLAIM,
)
def reset_claim(service: ServiceOf, caller: CallerOf, peer: str) -> Response:
    """After this, a client may connect whose clock was set back. The answer holds the forgotten claim. Name a removed
    peer by its key; then its removal is forgotten, too."""
    with service.registries.use() as registry:
        key, _ = handles.claim_of(registry, peer)
        claim = registry.claims.reset(key, by=caller.author)
    return answer({"public_key": str(key), "forgotten": claim is not None, "claim": claim_fields(claim)})


def _checked(make: Callable[[], Peer]) -> Peer:
    """The peer that `make` makes. Raises Problem if its values do not go together."""
    try:
        return make()
    except InvalidValue as error:
        raise invalid(error.told, error.field) from None
