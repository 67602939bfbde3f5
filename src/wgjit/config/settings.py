"""What each setting means, by section, and what it may be.

The text below a setting is what `wgjit config show` and the table in docs/CONFIGURATION.md say of it.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, field_validator, model_validator

from wgjit.config.addresses import AnyAddress, AnyInterface, AnyNetwork, AnyTarget
from wgjit.config.folders import STATE_FOLDER
from wgjit.config.validation import SettingsDisagree
from wgjit.database_url import DatabaseUrl, is_database_url
from wgjit.model import Delivery, PrivateKey, PublicKey
from wgjit.wire.key_text import holds_key, quoted


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class InterfaceSettings(_Section):
    """How to make the interface if it does not exist."""

    private_key_file: Path | None = None
    """The file with the base64 private key, as `wg genkey` writes it. wgjit needs it to make an interface."""
    listen_port: int = Field(default=51820, ge=1, le=65535)
    """The UDP port to which clients connect."""
    addresses: list[AnyInterface] = []
    """The gateway's own addresses inside the tunnel, with prefix length. Their prefixes become routes into it."""
    routes: list[AnyNetwork] = []
    """More prefixes to route into the tunnel, for allowed IPs of peers that lie outside of `interface.addresses`."""
    mtu: int = Field(default=1420, ge=1280, le=65455)
    """The MTU of the interface, in bytes. 1420 fits WireGuard over IPv6 over Ethernet."""
    backend: Literal["auto", "kernel", "userspace"] = "auto"
    """`auto` makes an interface of the kernel where the kernel has WireGuard, and else starts wireguard-go."""

    @field_validator("private_key_file")
    @classmethod
    def _is_no_key(cls, path: Path | None) -> Path | None:
        try:
            PrivateKey.parse(str(path))
        except ValueError:
            return path
        raise ValueError("this is a key; write the name of a file that holds it, and make a new key")


def _address(value: Any) -> str | DatabaseUrl | None:
    """The address of a service or of a database. No error repeats the value, since it may hold a password."""
    if value is None or isinstance(value, DatabaseUrl):
        return value
    if not isinstance(value, str):
        raise ValueError("write an address in quotes")
    if value.startswith(_DATABASE):
        return _database(value)
    parts = urlsplit(value)
    if not parts.hostname or parts.scheme not in ("https", "http") or parts.query or parts.fragment:
        raise ValueError(
            "write an address such as https://registry.example.org/v1 or postgresql://wgjit@db.example.org/wgjit"
        )
    if parts.username or parts.password:
        raise ValueError("write no user or password in it; put a token into store.token_file")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("write https://; http:// only for a service on this very machine")
    return value.rstrip("/")


def _database(value: Any) -> DatabaseUrl | None:
    if value is None or isinstance(value, DatabaseUrl):
        return value
    if not isinstance(value, str) or not is_database_url(value):
        raise ValueError("write a URL such as postgresql://wgjit@db.example.org/wgjit, in quotes")
    return DatabaseUrl(value)


def _shown(value: str | DatabaseUrl | None) -> str | None:
    return None if value is None else str(value)


_DATABASE = ("postgresql:", "postgres:")


class StoreSettings(_Section):
    """Where the registry is: a SQLite file, a PostgreSQL database, or somebody else's service, asked for each key.

    `store = "postgresql://..."`, `store = "https://..."` and `store = "/path"` are short for `url` and `path`.
    """

    path: Path | None = None
    """The SQLite registry. wgjit makes the file if it does not exist. With a postgresql `store.url` the file is the
    gateway's copy of that registry instead, by default /var/lib/wgjit/INTERFACE.replica.db. With an https `store.url`
    it keeps the service's answers, by default in /var/lib/wgjit/INTERFACE.cache.db."""
    url: Annotated[str | DatabaseUrl | None, PlainValidator(_address), PlainSerializer(_shown)] = None
    """Where the registry is, if it is not a file: `postgresql://USER@HOST/DATABASE`, libpq's URL (REGISTRY.md), or the
    https address of a service that knows the peers (REMOTE.md). http is only for a service on this very machine. Keep a
    password in a passfile."""
    read_url: Annotated[DatabaseUrl | None, PlainValidator(_database), PlainSerializer(_shown)] = None
    """A hot standby of `store.url` near by, postgresql:// as well. The gateway reads its copy's changes there, and
    writes to `store.url`."""
    poll: float = Field(default=0.25, ge=0.05, le=60)
    """Seconds between two looks of the gateway's copy for changes in PostgreSQL. A revocation takes so long, too."""
    token_file: Path | None = None
    """The file with the token that the service wants in `Authorization: Bearer`."""
    ca_file: Path | None = None
    """The file with the certificates (PEM) that the service's own certificate is checked by."""
    timeout: float = Field(default=0.3, gt=0, le=4)
    """Seconds that a packet waits for the service, less than `gateway.hold_deadline`. A late answer counts for the
    client's next try."""
    time_to_live: float = Field(default=300.0, ge=1, le=604_800)
    """Seconds for which a gateway uses an answer without asking again. A revocation that the service does not announce
    takes so long, too."""
    stale: float = Field(default=86400.0, ge=0)
    """Seconds beyond `store.time_to_live` for which a gateway uses an answer while the service cannot be reached."""
    follow: bool = True
    """Follow the service's event stream. A revocation that the service announces there takes effect at once."""

    @field_validator("path", mode="before")
    @classmethod
    def _is_no_url(cls, path: object) -> object:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/|postgres(ql)?/*:?//", str(path)):
            # Not repeated: it may hold a password.
            raise ValueError("this is an address; write it as store.url")
        return path

    @property
    def database(self) -> DatabaseUrl | None:
        """The URL of the registry in PostgreSQL; None if the registry is elsewhere."""
        return self.url if isinstance(self.url, DatabaseUrl) else None

    @property
    def service(self) -> str | None:
        """The address of the service that is the registry; None if the registry is elsewhere."""
        return self.url if isinstance(self.url, str) else None


class PoolSettings(_Section):
    """Where `wgjit peer add` takes addresses from. A family without a pool gets none."""

    ipv4: IPv4Network | None = None
    """The prefix from which `wgjit peer add` takes IPv4 addresses, /30 or wider. The first address, the last one and
    those of `interface.addresses` are never given out."""
    ipv6: IPv6Network | None = None
    """The prefix from which `wgjit peer add` takes IPv6 addresses, /126 or wider. The first address and those of
    `interface.addresses` are never given out."""
    quarantine: int = Field(default=86400, ge=0, le=31_536_000)
    """Seconds for which a freed address is given to no peer, so that packets for its last owner reach no other."""

    @field_validator("ipv4", "ipv6")
    @classmethod
    def _has_room(cls, pool: IPv4Network | IPv6Network | None) -> IPv4Network | IPv6Network | None:
        if pool is not None and pool.max_prefixlen - pool.prefixlen < 2:
            raise ValueError(f"{pool} has room for no peer; write a prefix of /{pool.max_prefixlen - 2} or wider")
        return pool


class ClientSettings(_Section):
    """What `wgjit peer add` writes into the configuration of a client."""

    endpoint: str | None = None
    """The gateway's name or address as clients reach it, with `:PORT` if the port is not `interface.listen_port`. It is
    needed to write a client's configuration."""
    public_key: str | None = None
    """The gateway's public key in base64, for where `interface.private_key_file` is not set, or the user of
    `wgjit peer` may not read that file."""
    allowed_ips: list[AnyNetwork] = Field(default=["0.0.0.0/0", "::/0"], min_length=1, validate_default=True)
    """The prefixes that clients send into the tunnel."""
    dns: list[str] = []
    """Name servers and search domains that clients use while the tunnel is up: addresses and domains."""
    mtu: int | None = Field(default=None, ge=1280, le=65455)
    """The MTU of a client's interface, in bytes. Without it the client finds the MTU by itself."""
    persistent_keepalive: int = Field(default=0, ge=0, le=65535)
    """Seconds between packets that a client sends to stay reachable behind a NAT. 0 is off, 25 is usual."""

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
    """This gateway's name in claims, another one than any other gateway's of the registry. No key may stand in it."""
    address: str | None = Field(default=None, min_length=1, max_length=200)
    """Where clients reach this gateway, a text that `wgjit gateways` shows to people."""
    delivery: Delivery | Literal["auto"] = "auto"
    """How the gateway completes the first handshake; DELIVERY.md compares the ways. `auto` takes the best that this
    machine can do."""
    hold_deadline: float = Field(default=0.5, gt=0, le=4)
    """Seconds that a held packet waits at most for its verdict. The client itself tries again after 5 s."""
    max_clock_skew: float = Field(default=3600.0, ge=0)
    """Seconds that a client's clock may be ahead of the gateway's. If this is too large, a client with a wrong clock
    locks itself out until that time has come. If it is too small, such a client cannot connect."""
    queue_length: int = Field(default=2048, ge=16, le=65536)
    """Packets that are held at once. Packets beyond it pass unseen, and their clients try again after 5 s. More than
    the gateway works off in 2 s is of no use."""
    idle_timeout: int = Field(default=900, ge=180, le=315_360_000)
    """Seconds without handshake and data after which a peer leaves the interface. A peer's own `--idle-timeout` comes
    first. A session lives 180 s, so no value may be less."""
    unconfirmed_timeout: float = Field(default=15.0, ge=1, le=3600)
    """Seconds after its last initiation after which a peer leaves whose handshake was never completed."""
    capacity: int = Field(default=65536, ge=1, le=1 << 20)
    """Peers on the interface at most. When the interface is full, the longest idle peers leave first. The kernel's own
    limit is 1048576, wireguard-go's is 65536."""
    exclusive: bool = False
    """Take peers off the interface that the registry does not know (also `--exclusive`). Else they are left alone."""
    source_rate: float = Field(default=100.0, gt=0)
    """Initiations a second that the gateway looks at from one source, an IPv4 address or an IPv6 /64. Twice as many may
    come at once. Many clients may be behind one address."""
    exchange_rate: float = Field(default=8000.0, ge=100)
    """X25519 calls a second that initiations may cause, about what one CPU can do. Initiations beyond it pass unseen,
    first those from sources that sent bad ones before."""

    @field_validator("name", "address")
    @classmethod
    def _is_no_secret(cls, text: str | None) -> str | None:
        if text is not None and holds_key(text):
            raise ValueError("a key stands in it, and others are shown it; choose a text without it")
        return text


class TakeoverSettings(_Section):
    """What a gateway of a fleet does for clients of another gateway that has died or left."""

    addresses: list[AnyAddress] = []
    """The service addresses: addresses to which clients connect and which this gateway shares with other gateways of
    the fleet, by anycast or VRRP. Without `/` and prefix length. Only with a postgresql `store.url`."""

    @field_validator("addresses")
    @classmethod
    def _can_be_shared(cls, addresses: list[AnyAddress]) -> list[AnyAddress]:
        for address in addresses:
            if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local:
                raise ValueError(f"{address} is no address to which clients connect; write one that they can reach")
            if addresses.count(address) > 1:
                raise ValueError(f"{address} stands there twice; leave one out")
        return addresses


class FleetSettings(_Section):
    """What a gateway does besides serving, as a member of a fleet."""

    drain_on_stop: int = Field(default=0, ge=0, le=3600)
    """Seconds for which a gateway of a fleet drains at SIGTERM before it ends, at most; it ends as soon as no client is
    left. 0: it ends at once, and sessions stay up without it. systemd is asked for as much time as this takes."""


class HealthSettings(_Section):
    """What `wgjit health` tests, besides what cannot be switched off (LEAVING.md)."""

    target: AnyTarget | None = None
    """An address of the network behind the gateway that answers pings, or an address with a TCP port that takes
    connections. While it cannot be reached, the gateway is unhealthy."""
    interval: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds between two tries of `health.target`."""
    timeout: float = Field(default=1.0, ge=0.05, le=60)
    """Seconds that a try of `health.target` waits for an answer."""
    failures: int = Field(default=3, ge=1, le=1000)
    """Tries of `health.target` in a row that have to fail before it counts as out of reach. One success is enough to
    count as reached."""
    max_lag: float | None = Field(default=None, ge=1)
    """Seconds by which a gateway's copy of the registry may be behind. Without it a gateway is healthy however long the
    registry of record is away: all gateways of a fleet would be unhealthy at once, although they can serve."""
    max_clock_offset: float = Field(default=5.0, ge=0)
    """Seconds that the gateway's clock may differ from the database's. 0: any."""


class RoutesSettings(_Section):
    """Routes for residents, so that traffic from inside finds the gateway that serves its peer; see ROUTING.md."""

    mode: Literal["off", "residents"] = "off"
    """`residents`: the kernel gets a route for each allowed IP of a peer while this gateway serves it. A routing daemon
    tells other routers of them."""
    table: int = Field(default=254, ge=1, le=2**32 - 1)
    """The kernel's routing table for them, by number. 254 is `main`."""
    protocol: int = Field(default=87, ge=5, le=255)
    """The number that marks these routes as wgjit's own. It must not be that of another program (rt_protos(5)), since
    wgjit takes away all routes of this number on its interface that it does not know."""
    metric: Literal["fixed", "claim"] = "fixed"
    """`fixed`: 1 for all. `claim`, in a fleet: 2^32-1 minus the seconds of the time when the peer was taken, so that
    routers prefer the gateway that has taken it last. ROUTING.md says how."""
    skip_covered: bool = False
    """Put in no route for a prefix that lies in `interface.addresses` or `interface.routes`."""

    @field_validator("protocol")
    @classmethod
    def _is_our_own(cls, number: int) -> int:
        if number in _PROTOCOLS:
            raise ValueError(f"{number} is the number of {_PROTOCOLS[number]}, which may take such routes away")
        return number

    @field_validator("table")
    @classmethod
    def _is_no_local_table(cls, number: int) -> int:
        if number in (252, 255):
            raise ValueError(f"{number} is the kernel's own table; write 254 for main, or a number of your own")
        return number


_PROTOCOLS = {
    8: "gated", 9: "routers' advertisements", 10: "MRT", 11: "zebra (FRR)", 12: "BIRD", 13: "DECnet", 14: "XORP",
    15: "netsukuku", 16: "DHCP clients and systemd-networkd", 17: "mrouted", 18: "keepalived", 42: "babeld",
    84: "OVN", 99: "Open/R", 186: "FRR's BGP", 187: "FRR's IS-IS", 188: "FRR's OSPF", 189: "FRR's RIP",
    190: "FRR's RIPng", 191: "FRR's NHRP", 192: "FRR's EIGRP", 193: "FRR's LDP", 194: "FRR's sharpd",
    195: "FRR's PBR", 196: "FRR's static routes", 197: "FRR's OpenFabric", 198: "FRR's SRTE",
}  # fmt: skip
"""linux/rtnetlink.h, and FRR's zebra/rt_netlink.h."""


class ApiSettings(_Section):
    """`wgjit api`: the registry over HTTP."""

    socket: Path | None = None
    """The Unix socket of `wgjit api`."""
    socket_mode: str = Field(default="0600", pattern=r"^0[0-7]{3}$")
    """The mode of the socket, octal digits in quotes. Whoever may use the socket may do everything."""
    listen: str | None = None
    """Address and port for TCP, such as `"[::]:8443"`. It needs the two files below; callers need tokens."""
    tls_certificate_file: Path | None = None
    """The file with the certificate chain, PEM. It is read again on SIGHUP."""
    tls_private_key_file: Path | None = None
    """The file with the certificate's private key, PEM."""
    rate: float = Field(default=50.0, gt=0, le=100_000)
    """Requests a second of one token that does not say otherwise. Twice as many may come at once."""
    gateway_rate: float = Field(default=200.0, gt=0, le=100_000)
    """Requests a second of one token of scope `gateway`. A gateway itself asks 200 times a second at most."""

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
    if scheme is None:
        return {"path": text}
    # `postgresql:///wgjit` has no host, so no slash of it may go.
    return {"url": text if is_database_url(text) else f"{scheme[0].rstrip('/')}//{text[scheme.end() :]}"}


class Config(_Section):
    """All of it."""

    interface: InterfaceSettings = InterfaceSettings()
    store: StoreSettings = StoreSettings()
    pool: PoolSettings = PoolSettings()
    client: ClientSettings = Field(default_factory=lambda: ClientSettings())
    gateway: GatewaySettings = Field(default_factory=lambda: GatewaySettings())
    fleet: FleetSettings = FleetSettings()
    takeover: TakeoverSettings = TakeoverSettings()
    health: HealthSettings = HealthSettings()
    routes: RoutesSettings = RoutesSettings()
    api: ApiSettings = Field(default_factory=lambda: ApiSettings())

    @field_validator("store", mode="before")
    @classmethod
    def _in_short(cls, store: object) -> object:
        return store_in_short(store) if isinstance(store, str) else store

    @model_validator(mode="after")
    def _store_fits_together(self) -> Config:
        store = self.store
        if store.database is not None:
            for name, instead in (
                ("token_file", "a password for PostgreSQL is kept in a passfile: passfile=FILE in store.url"),
                ("ca_file", "write sslrootcert=FILE and sslmode=verify-full in store.url"),
            ):
                if getattr(store, name) is not None:
                    raise SettingsDisagree(
                        f"is for a service, and store.url is a PostgreSQL database; leave it out: {instead}",
                        f"store.{name}",
                        "store.url",
                    )
        elif store.read_url is not None:
            raise SettingsDisagree(
                "is a standby of a registry in PostgreSQL, and store.url is none; set store.url to the primary's "
                "postgresql:// URL, or leave this out",
                "store.read_url",
                "store.url",
            )
        return self

    @model_validator(mode="after")
    def _is_in_a_fleet(self) -> Config:
        only = (("takeover.addresses", self.takeover.addresses), ("fleet.drain_on_stop", self.fleet.drain_on_stop))
        for name, value in (*only, ("health.max_lag", self.health.max_lag)):
            if value and self.store.database is None:
                raise SettingsDisagree(
                    "is for gateways of a fleet, which share a registry in PostgreSQL; set store.url to its "
                    "postgresql:// URL, or leave this out",
                    name,
                    "store.url",
                )
        return self

    @model_validator(mode="after")
    def _claims_are_known(self) -> Config:
        if self.routes.metric == "claim" and self.store.database is None:
            raise SettingsDisagree(
                "claim compares the gateways of a fleet, and store.url is no postgresql:// URL; write fixed",
                "routes.metric",
                "store.url",
            )
        return self

    @model_validator(mode="after")
    def _answers_in_time(self) -> Config:
        if self.store.service is not None and self.store.timeout >= self.gateway.hold_deadline:
            raise SettingsDisagree(
                f"{self.store.timeout} s is not below gateway.hold_deadline, {self.gateway.hold_deadline} s; "
                "a held packet would not wait for the answer",
                "store.timeout",
                "gateway.hold_deadline",
            )
        return self

    def store_path(self, interface: str) -> Path:
        """The registry's file for this interface, the copy of a registry in PostgreSQL, or the file that keeps a
        service's answers."""
        kind = "" if self.store.url is None else ".cache" if self.store.database is None else ".replica"
        return self.store.path or STATE_FOLDER / f"{interface}{kind}.db"
