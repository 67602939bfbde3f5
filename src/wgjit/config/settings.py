"""What each setting means, by section, and what it may be.

The texts below the settings are what `wgjit config show` says of them.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wgjit.config.addresses import AnyInterface, AnyNetwork
from wgjit.config.folders import STATE_FOLDER
from wgjit.config.validation import SettingsDisagree
from wgjit.model import Delivery, PrivateKey, PublicKey
from wgjit.wire.key_text import holds_key, quoted


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InterfaceSettings(_Section):
    """How to make the interface if it does not exist."""

    private_key_file: Path | None = None
    """A file with the base64 private key, as `wg genkey` writes it. Needed to make an interface."""
    listen_port: int = Field(default=51820, ge=1, le=65535)
    """UDP port of the interface."""
    addresses: list[AnyInterface] = []
    """The gateway's own addresses inside the tunnel; their prefixes become routes into it."""
    routes: list[AnyNetwork] = []
    """More prefixes to route into the tunnel: allowed IPs of peers that lie outside of `addresses`."""
    mtu: int = Field(default=1420, ge=1280, le=65455)
    """MTU of the interface; 1420 fits IPv6 outside over Ethernet."""
    backend: Literal["auto", "kernel", "userspace"] = "auto"
    """`auto` makes a kernel interface where the kernel has WireGuard, else starts wireguard-go."""

    @field_validator("private_key_file")
    @classmethod
    def _is_no_key(cls, path: Path | None) -> Path | None:
        try:
            PrivateKey.parse(str(path))
        except ValueError:
            return path
        raise ValueError("this is a key; write the name of a file that holds it, and make a new key")


class StoreSettings(_Section):
    """Where the registry is: a SQLite file, or somebody else's service that is asked for each key.

    `store = "https://..."` and `store = "/path"` are short for `url` and `path`.
    """

    path: Path | None = None
    """The SQLite file; by default /var/lib/wgjit/INTERFACE.db. Made if it does not exist. With `url` it holds what the
    service has answered, and the default is /var/lib/wgjit/INTERFACE.cache.db."""
    url: str | None = None
    """The service that knows the peers, such as https://registry.example.org/v1: docs/REMOTE.md."""
    token_file: Path | None = None
    """A file with the token that the service wants in `Authorization: Bearer`."""
    ca_file: Path | None = None
    """Certificates (PEM) that the service's own is checked by, instead of the system's."""
    timeout: float = Field(default=0.3, gt=0, le=4)
    """Seconds that a knock waits for the service; less than gateway.hold_deadline. A late answer still counts for the
    client's next try."""
    time_to_live: float = Field(default=300.0, ge=1, le=604_800)
    """Seconds for which an answer is used without asking again. Also the delay of a revocation that the service does
    not announce."""
    negative_time_to_live: float = Field(default=4.0, ge=0, le=3600)
    """Seconds for which "no such peer" is remembered. A client tries again after 5 s: below that, a new peer counts
    from its next try."""
    negatives: int = Field(default=65536, ge=0, le=10_000_000)
    """Unknown keys remembered at most."""
    stale: float = Field(default=86400.0, ge=0)
    """Seconds beyond its time to live for which an answer is still used while the service cannot be reached."""
    requests: float = Field(default=200.0, ge=1, le=100_000)
    """Requests per second at most, as many at once. Half of them are kept for knocks."""
    follow: bool = True
    """Follow the service's event stream, by which it revokes at once."""

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if not parts.hostname or parts.scheme not in ("https", "http") or parts.query or parts.fragment:
            raise ValueError("write an address such as https://registry.example.org/v1")
        if parts.username or parts.password:
            raise ValueError("write no user or password in it; put a token into store.token_file")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("write https://; http:// only for a service on this very machine")
        return url.rstrip("/")


class PoolSettings(_Section):
    """Where `wgjit peer add` takes addresses from. A family without a pool gets none."""

    ipv4: IPv4Network | None = None
    """The IPv4 pool; its first and last address and the gateway's own are never given out."""
    ipv6: IPv6Network | None = None
    """The IPv6 pool; its first address and the gateway's own are never given out."""
    quarantine: int = Field(default=86400, ge=0, le=31_536_000)
    """Seconds for which a freed address is given to nobody, so that packets of its last owner reach no other."""

    @field_validator("ipv4", "ipv6")
    @classmethod
    def _has_room(cls, pool: IPv4Network | IPv6Network | None) -> IPv4Network | IPv6Network | None:
        if pool is not None and pool.max_prefixlen - pool.prefixlen < 2:
            raise ValueError(f"{pool} has room for no peer; write a prefix of /{pool.max_prefixlen - 2} or wider")
        return pool


class ClientSettings(_Section):
    """What `wgjit peer add` writes into the configuration of a client."""

    endpoint: str | None = None
    """The gateway's name or address as clients reach it, with `:port` if that is not interface.listen_port."""
    public_key: str | None = None
    """The gateway's public key, where interface.private_key_file is not set or not to be read."""
    allowed_ips: list[AnyNetwork] = Field(default=["0.0.0.0/0", "::/0"], min_length=1, validate_default=True)
    """What clients send into the tunnel; by default all."""
    dns: list[str] = []
    """Name servers and search domains that clients use while the tunnel is up."""
    mtu: int | None = Field(default=None, ge=1280, le=65455)
    """MTU of the client's interface; by default the client finds it by itself."""
    persistent_keepalive: int = Field(default=0, ge=0, le=65535)
    """Seconds between packets that keep the client's way through a NAT open; 0 is off, 25 is usual."""

    @field_validator("endpoint")
    @classmethod
    def _is_endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?", endpoint)
        if match is None or (match[2] is not None and not 1 <= int(match[2]) <= 65535):
            raise ValueError("write a host and a port, such as vpn.example.org:51820 or [2001:db8::1]:51820")
        return endpoint

    @field_validator("public_key")
    @classmethod
    def _is_key(cls, key: str | None) -> str | None:
        return None if key is None else str(PublicKey.parse(key))

    @field_validator("dns")
    @classmethod
    def _are_hosts(cls, dns: list[str]) -> list[str]:
        for entry in dns:
            if not re.fullmatch(r"[0-9A-Za-z._:-]+", entry):
                raise ValueError(f"{quoted(entry)} is neither an address nor a domain")
        return dns


class GatewaySettings(_Section):
    """How the gateway treats a knock."""

    name: str = Field(default_factory=socket.gethostname, min_length=1)
    """This gateway's name in claims; by default the host name. No key may stand in it."""
    delivery: Delivery | Literal["auto"] = "auto"
    """How the first handshake is completed; `auto` takes the best that this machine can do."""
    hold_deadline: float = Field(default=0.5, gt=0, le=4)
    """Seconds that a held packet may wait for its verdict; below the client's own retry at 5 s."""
    max_clock_skew: float = Field(default=3600.0, ge=0)
    """Seconds that a client's clock may be ahead of ours. Too much, and a client with a wrong clock locks itself
    out until that time has come; too little, and it cannot connect."""
    queue_length: int = Field(default=2048, ge=16, le=65536)
    """Packets that may be held at once; beyond it they pass unseen."""
    idle_timeout: int = Field(default=900, ge=180, le=315_360_000)
    """Seconds without handshake and data after which a peer leaves the interface, if its own registration does not say
    otherwise. A session lives 180 s, so no less."""
    unconfirmed_timeout: float = Field(default=15.0, ge=1, le=3600)
    """Seconds after its last knock after which a peer leaves whose handshake was never completed."""
    capacity: int = Field(default=65536, ge=1, le=1 << 20)
    """Peers on the interface at most. When they are so many, the longest idle leave first. 2^20 is the kernel's own
    limit, 65536 wireguard-go's."""
    exclusive: bool = False
    """Take peers off the interface that the registry does not know, instead of leaving them alone."""
    source_rate: float = Field(default=100.0, gt=0)
    """Initiations per second that are looked at from one source, an IPv4 address or an IPv6 /64; twice as many at once.
    Many clients may stand behind one address."""
    exchange_rate: float = Field(default=8000.0, ge=100)
    """X25519 calls per second that knocks may cause, about what one CPU can do. Beyond it they pass unseen, those from
    sources with a bad name first."""

    @field_validator("name")
    @classmethod
    def _is_no_secret(cls, name: str) -> str:
        if holds_key(name):
            raise ValueError("a key stands in it, and claims show it; choose a text without it")
        return name


class ApiSettings(_Section):
    """`wgjit api`: the registry over HTTP."""

    socket: Path | None = None
    """The Unix socket; by default /run/wgjit/INTERFACE.api.sock."""
    socket_mode: str = Field(default="0600", pattern=r"^0[0-7]{3}$")
    """Who may use the socket: whoever may, may do everything. Octal digits in quotes."""
    listen: str | None = None
    """Address and port for TCP, such as "[::]:8443" or "192.0.2.1:8443"; wants the two files below, and tokens."""
    tls_certificate_file: Path | None = None
    """The certificate chain, PEM. Read again on SIGHUP."""
    tls_private_key_file: Path | None = None
    """Its private key, PEM."""
    rate: float = Field(default=50.0, gt=0, le=100_000)
    """Requests per second of one token, if the token does not say otherwise; twice as many at once."""
    gateway_rate: float = Field(default=200.0, gt=0, le=100_000)
    """The same for a token of scope gateway: what `store.requests` is where it is used, so that no gateway is refused
    what its own setting allows."""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str | None) -> str | None:
        if listen is None:
            return None
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", listen)
        try:
            if match is None or not 0 <= int(match[3]) <= 65535:
                raise ValueError
            ip_address(match[1] or match[2])
        except ValueError:
            raise ValueError('write an address and a port, such as "[::]:8443" or "192.0.2.1:8443"') from None
        return listen

    @model_validator(mode="after")
    def _has_tls(self) -> ApiSettings:
        files = (self.tls_certificate_file, self.tls_private_key_file)
        if self.listen is not None and None in files:
            raise SettingsDisagree(
                "set tls_certificate_file and tls_private_key_file too; TCP is only with TLS", "api.listen"
            )
        return self


def store_in_short(text: str) -> dict[str, str]:
    """The section `store` for a file's name or an address. One that was taken for a path has lost a slash."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/+", text)
    return {"path": text} if scheme is None else {"url": f"{scheme[0].rstrip('/')}//{text[scheme.end() :]}"}


class Config(_Section):
    """All of it."""

    interface: InterfaceSettings = InterfaceSettings()
    store: StoreSettings = StoreSettings()
    pool: PoolSettings = PoolSettings()
    client: ClientSettings = Field(default_factory=lambda: ClientSettings())
    gateway: GatewaySettings = Field(default_factory=lambda: GatewaySettings())
    api: ApiSettings = Field(default_factory=lambda: ApiSettings())

    @field_validator("store", mode="before")
    @classmethod
    def _in_short(cls, store: object) -> object:
        return store_in_short(store) if isinstance(store, str) else store

    @model_validator(mode="after")
    def _answers_in_time(self) -> Config:
        if self.store.url is not None and self.store.timeout >= self.gateway.hold_deadline:
            raise SettingsDisagree(
                f"{self.store.timeout} s is not below gateway.hold_deadline, {self.gateway.hold_deadline} s; "
                "a held packet would not wait for the answer",
                "store.timeout",
                "gateway.hold_deadline",
            )
        return self

    def store_path(self, interface: str) -> Path:
        """The registry's file for this interface, or the file that keeps the service's answers."""
        return self.store.path or STATE_FOLDER / (f"{interface}.cache.db" if self.store.url else f"{interface}.db")
