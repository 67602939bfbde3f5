"""The one configuration file, TOML, and what each setting means.

    [interface]
    private_key_file = "/etc/wgjit/wg0.key"
    listen_port = 51820
    addresses = ["10.8.0.1/16", "fd00:8::1/64"]

An interface that exists already is used as it stands: key, port, addresses and peers stay as they are.
"""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyInterface, IPvAnyNetwork, ValidationError

from wgjit.errors import ConfigError
from wgjit.model import Delivery, PrivateKey

STATE_FOLDER = Path("/var/lib/wgjit")
RUN_FOLDER = Path("/run/wgjit")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InterfaceSettings(_Section):
    """How to make the interface if it does not exist."""

    private_key_file: Path | None = None
    """A file with the base64 private key, as `wg genkey` writes it. Needed to make an interface."""
    listen_port: int = Field(default=51820, ge=1, le=65535)
    """UDP port of the interface."""
    addresses: list[IPvAnyInterface] = []
    """The gateway's own addresses inside the tunnel; their prefixes become routes into it."""
    routes: list[IPvAnyNetwork] = []
    """More prefixes to route into the tunnel: allowed IPs of peers that lie outside of `addresses`."""
    mtu: int = Field(default=1420, ge=1280, le=65455)
    """MTU of the interface; 1420 fits IPv6 outside over Ethernet."""
    backend: Literal["auto", "kernel", "userspace"] = "auto"
    """`auto` makes a kernel interface where the kernel has WireGuard, else starts wireguard-go."""


class StoreSettings(_Section):
    """Where the registry is kept."""

    path: Path | None = None
    """The SQLite file; by default /var/lib/wgjit/INTERFACE.db. Made if it does not exist."""

    def path_for(self, interface: str) -> Path:
        """The registry's file for this interface."""
        return self.path or STATE_FOLDER / f"{interface}.db"


class GatewaySettings(_Section):
    """How the gateway treats a knock."""

    name: str = Field(default_factory=socket.gethostname, min_length=1)
    """This gateway's name in claims; by default the host name."""
    delivery: Delivery | Literal["auto"] = "auto"
    """How the first handshake is completed; `auto` takes the best that this machine can do."""
    hold_deadline: float = Field(default=0.5, gt=0, le=4)
    """Seconds that a held packet may wait for its verdict; below the client's own retry at 5 s."""
    max_clock_skew: float = Field(default=3600.0, ge=0)
    """Seconds that a client's clock may be ahead of ours. Too much, and a client with a wrong clock locks itself
    out until that time has come; too little, and it cannot connect."""
    queue_length: int = Field(default=1024, ge=16, le=65536)
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


class Config(_Section):
    """All of it."""

    interface: InterfaceSettings = InterfaceSettings()
    store: StoreSettings = StoreSettings()
    gateway: GatewaySettings = Field(default_factory=lambda: GatewaySettings())

    def store_path(self, interface: str) -> Path:
        """The registry's file for this interface."""
        return self.store.path_for(interface)


def load_config(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError that names the file, the field, and what it may be."""
    try:
        text = path.read_text(encoding="utf-8")
        return Config.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {_plain(e['msg'], e['type'])}" for e in error.errors())
        raise ConfigError(f"{path}: {wrong}") from None


def _plain(message: str, kind: str) -> str:
    return "no such setting" if kind == "extra_forbidden" else message[:1].lower() + message[1:]


def read_private_key(path: Path) -> PrivateKey:
    """Read a key file. Raises ConfigError; what is in the file is never repeated."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"interface.private_key_file: {path}: {error.strerror}") from None
    try:
        return PrivateKey.parse(text)
    except ValueError as error:
        raise ConfigError(f"interface.private_key_file: {path}: {error}") from None
