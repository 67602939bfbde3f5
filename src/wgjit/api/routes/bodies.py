"""The models of requests and answers, as the API's description shows them.

Values are checked by the same functions that the command line uses.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from wgjit.api.problems import about, invalid
from wgjit.model import AllowedIP, PresharedKey, parse_allowed_ip
from wgjit.stores import label_rules
from wgjit.stores.checks import check_allowed_ips, check_name
from wgjit.stores.peer_json import parse_moment
from wgjit.times import parse_lifetime

KEY = "aGFuZGVkIG91dCBieSB0aGUgb2ZmaWNlIHJvdXRlci4="

PEER: dict[str, Any] = {
    "public_key": KEY,
    "name": "office",
    "allowed_ips": ["10.8.0.2/32", "fd00:8::2/128"],
    "has_preshared_key": False,
    "keepalive": 25,
    "enabled": True,
    "expires_at": "2027-01-31T12:00:00Z",
    "idle_timeout": None,
    "labels": {"team": "infra"},
    "state": "enabled",
}

Labels = Annotated[dict[str, str], Field(description="Labels; a key has one value at most.")]
Seconds = Annotated[int, Field(ge=0, le=65535)]
Idle = Annotated[
    int | None,
    Field(
        ge=0,
        le=315_360_000,
        description="Seconds, at least 180. 0: the peer never leaves. null: the gateway's default.",
    ),
]
Moment = Annotated[
    str | int | None, Field(description="RFC 3339 or Unix seconds. null: never.", examples=["2027-01-31T12:00:00Z"])
]
Lifetime = Annotated[str | None, Field(description="A time from now: 30d, 12h; or never.", examples=["30d"])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewPeer(_Body):
    """A peer to register. Without `public_key` a key pair is made. Without `allowed_ips` each pool gives an address."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "alice"},
                {"name": "office", "public_key": KEY, "allowed_ips": ["10.9.0.1/32"], "labels": {"team": "infra"}},
            ]
        }
    )
    name: str | None = None
    public_key: str | None = None
    allowed_ips: list[str] | None = None
    preshared_key: str | None = None
    keepalive: Seconds = 0
    expires_at: Moment = None
    expires_in: Lifetime = None
    idle_timeout: Idle = None
    labels: Labels = {}
    enabled: bool = True


class PeerPatch(_Body):
    """A merge patch (RFC 7396). A missing field stays, and null sets the default. In `labels`, null removes a label."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"enabled": False}, {"labels": {"team": "ops", "guest": None}}]}
    )
    name: str | None = None
    allowed_ips: list[str] | None = None
    preshared_key: str | None = None
    keepalive: Seconds | None = None
    expires_at: Moment = None
    expires_in: Lifetime = None
    idle_timeout: Idle = None
    labels: dict[str, str | None] | None = None
    enabled: bool | None = None


class Rotation(_Body):
    """The new key. Without it, a key pair is made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"public_key": KEY}]})
    public_key: str | None = None


class NewToken(_Body):
    """A token to make."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "deploy", "scope": "write", "expires_in": "90d"}]}
    )
    name: str
    scope: Annotated[str, Field(pattern="^(read|write|admin|gateway)$")]
    expires_at: Moment = None
    expires_in: Lifetime = None
    rate: Annotated[float | None, Field(gt=0, le=100_000, allow_inf_nan=False, strict=False)] = None


class PeerBody(BaseModel):
    """A registered peer."""

    model_config = ConfigDict(json_schema_extra={"examples": [PEER]})
    public_key: str
    name: str | None
    allowed_ips: list[str]
    has_preshared_key: bool
    preshared_key: str | None = Field(default=None, description="Only there if the request asks for it.")
    keepalive: int
    enabled: bool
    expires_at: str | None
    idle_timeout: int | None
    labels: dict[str, str]
    state: str = Field(description="enabled, disabled or expired")


class ClaimBody(BaseModel):
    """When and where a peer was last proven."""

    timestamp: str
    gateway: str
    endpoint: str
    proven_at: str | None
    inferred: bool
    """True if no gateway saw this timestamp. It was then inferred from the device's last handshake."""


class HoldingBody(BaseModel):
    """Which gateway of a fleet serves a peer."""

    gateway: str
    since: str | None
    until: str | None = Field(description="When that gateway let the peer go. null while it serves the peer.")
    endpoint: str
    before: str | None = Field(description="The gateway that served the peer before.")
    timestamp: str
    takeovers: int


class OnePeer(PeerBody):
    """A peer, its last claim, and who holds it. `holding` is null if no gateway of a fleet has ever held the peer."""

    model_config = ConfigDict(json_schema_extra={"examples": [PEER | {"claim": None, "holding": None}]})
    claim: ClaimBody | None
    holding: HoldingBody | None


class GatewayBody(BaseModel):
    """A gateway of a fleet, as its heartbeat told it last."""

    name: str
    lives: bool = Field(description="It was seen within the last 10 seconds.")
    address: str | None
    interface: str
    public_key: str
    version: str
    residents: int
    lag: float | None = Field(description="Seconds by which its copy of the registry is behind.")
    clock_offset: float | None = Field(description="Seconds by which the database's clock is ahead of its own.")
    draining: bool = Field(description="It takes over no clients, and lets its own go.")
    service: list[str] = Field(description="The addresses that it shares with other gateways.")
    started_at: str | None
    seen_at: str | None


class GatewayList(BaseModel):
    """The gateways that share the registry."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"gateways": []}]})
    gateways: list[GatewayBody]


class HandedOut(PeerBody):
    """A peer with its private key and configuration, which are shown only once."""

    model_config = ConfigDict(json_schema_extra={"examples": [PEER | {"private_key": None, "config": None}]})
    private_key: str | None = Field(
        description="Made by the server and stored nowhere. null if the public key was given."
    )
    config: str | None = Field(
        description="The client's configuration. null without a private key, or if [client] is not configured."
    )


class PeerPage(BaseModel):
    """A page of peers. `next` is the `after` of the next page, null on the last page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"peers": [PEER], "next": None}]})
    peers: list[PeerBody]
    next: str | None


class Found(BaseModel):
    """The peers that a search found."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"peers": [PEER]}]})
    peers: list[PeerBody]


class Count(BaseModel):
    """A number of peers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"count": 3}]})
    count: int


class Removed(BaseModel):
    """The number of removed peers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"removed": 3}]})
    removed: int


class PeerClaim(BaseModel):
    """A peer's claim."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"public_key": KEY, "claim": None}]})
    public_key: str
    claim: ClaimBody | None
    forgotten: bool | None = None


class BadLine(BaseModel):
    """A line that an import left out."""

    line: int
    detail: str


class Imported(BaseModel):
    """The result of an import."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"added": 2, "present": 0, "refused": 1, "bad": [{"line": 3, "detail": "..."}]}]
        }
    )
    added: int
    present: int = Field(description="Peers that were registered already with exactly these values.")
    updated: int = Field(default=0, description="Registered peers that got a name or labels. Only with `update`.")
    refused: int
    bad: list[BadLine] = Field(description="The first 1000 refused lines.")


class TokenBody(BaseModel):
    """A token without its secret."""

    id: str
    name: str
    scope: str
    rate: float | None
    created_at: str | None
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    state: str


class MadeToken(TokenBody):
    """A token with its text, which is shown only once."""

    token: str


class TokenList(BaseModel):
    """A page of tokens. `next` is the `after` of the next page."""

    tokens: list[TokenBody]
    next: str | None


class AuditBody(BaseModel):
    """An entry of the audit log."""

    id: int
    at: str | None
    actor: str
    verb: str
    public_key: str | None
    name: str | None
    details: dict[str, Any]


class AuditPageBody(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[AuditBody]
    next: int | None


class Health(BaseModel):
    """The registry can be read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})
    status: str


class GatewayHealth(BaseModel):
    """The gateway is fit to serve clients."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"healthy": True}]})
    healthy: bool


class Drain(BaseModel):
    """How far a drain is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"draining": True, "left": 12, "others": 2}]})
    draining: bool
    left: int = Field(description="Clients that the gateway still serves. The drain is over when this is 0.")
    others: int = Field(description="Other gateways of the fleet that are known to live and not to drain.")


class FieldError(BaseModel):
    """A field and its error."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


# --- values -------------------------------------------------------------------------------------------------------


def values(body: NewPeer | PeerPatch) -> dict[str, Any]:
    """The fields of a `Peer` that a body sets, without key and labels. Raises Problem."""
    told = body.model_fields_set
    found: dict[str, Any] = {}
    if "name" in told:
        found["name"] = name(body.name)
    if "allowed_ips" in told:
        found["allowed_ips"] = prefixes(body.allowed_ips)
    if "preshared_key" in told:
        found["preshared_key"] = preshared_key(body.preshared_key)
    if "keepalive" in told:
        found["keepalive"] = body.keepalive or 0
    if "enabled" in told:
        found["enabled"] = body.enabled is not False
    if told & {"expires_at", "expires_in"}:
        found["expires_at"] = expiry(body.expires_at, body.expires_in)
    if "idle_timeout" in told:
        found["idle_timeout"] = body.idle_timeout
    return found


def prefixes(texts: list[str] | None) -> tuple[AllowedIP, ...]:
    """The prefixes of a list. Raises Problem."""
    with about("allowed_ips"):
        check_allowed_ips(texts or ())
        return tuple(map(parse_allowed_ip, texts or ()))


def preshared_key(text: str | None) -> PresharedKey | None:
    """The key of a text. Raises Problem, which does not repeat the text."""
    with about("preshared_key"):
        return None if text is None else PresharedKey.parse(text)


def name(text: str | None) -> str | None:
    """The checked name. Raises Problem."""
    with about("name"):
        check_name(text)
    return text


def label(key: str, value: str | None) -> None:
    """Raise Problem for a malformed label. Without a value, only the label's key is checked."""
    with about("labels"):
        label_rules.check_key(key)
        if value is not None:
            label_rules.check(key, value)


def expiry(moment: str | int | None, lifetime: str | None) -> int | None:
    """Unix seconds, None for never. Raises Problem."""
    if moment is not None and lifetime is not None:
        raise invalid("expires_in: give it or expires_at, not both", "expires_in")
    if lifetime is not None:
        with about("expires_in"):
            return parse_lifetime(lifetime, time.time())
    with about("expires_at"):
        return parse_moment(moment)
