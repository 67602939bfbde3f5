"""The configuration that a client gets: a file as wg-quick and the WireGuard apps read it, or a QR code of it.

It holds the client's private key, which is kept nowhere else: files are made with mode 0600 and never overwrite one,
and they are written before the registration counts, so that no peer is registered whose key was lost.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import segno

from wgjit.cli.registry_file import Site
from wgjit.config import read_private_key
from wgjit.errors import ConfigError
from wgjit.model import Peer, PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Server:
    """What a client has to know of the gateway."""

    public_key: PublicKey
    endpoint: str
    allowed_ips: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int | None
    persistent_keepalive: int


def server(site: Site) -> Server:
    """The gateway as the configuration describes it. Raises ConfigError that names all that is missing."""
    client, interface = site.config.client, site.config.interface
    missing = []
    if client.endpoint is None:
        missing.append('client.endpoint (such as "vpn.example.org")')
    if client.public_key is None and interface.private_key_file is None:
        missing.append("interface.private_key_file or client.public_key")
    if client.endpoint is None or missing:
        raise ConfigError(
            f"{site.source}: for a client's configuration, set {' and '.join(missing)}; "
            "or give the client's own --public-key"
        )
    if client.public_key is not None:
        key = PublicKey.parse(client.public_key)
    else:
        assert interface.private_key_file is not None
        key = read_private_key(interface.private_key_file).public()
    has_port = not client.endpoint.endswith("]") and ":" in client.endpoint
    return Server(
        key,
        client.endpoint if has_port else f"{client.endpoint}:{interface.listen_port}",
        tuple(map(str, client.allowed_ips)),
        tuple(client.dns),
        client.mtu,
        client.persistent_keepalive,
    )


def compose(to: Server, peer: Peer, private_key: PrivateKey | None) -> str:
    """The file's text. Raises ConfigError if the peer has no address of its own, only wider prefixes.

    Without the private key, which somebody else keeps, its line says so.
    """
    addresses = [str(prefix) for prefix in peer.allowed_ips if prefix.prefixlen == prefix.max_prefixlen]
    if not addresses:
        raise ConfigError("--allowed-ips: a client's configuration needs an address in it, such as 10.8.0.2/32")
    interface = {
        "PrivateKey": None if private_key is None else private_key.reveal_base64(),
        "Address": ", ".join(addresses),
        "DNS": ", ".join(to.dns) or None,
        "MTU": to.mtu,
    }
    gateway = {
        "PublicKey": to.public_key,
        "PresharedKey": None if peer.preshared_key is None else peer.preshared_key.reveal_base64(),
        "Endpoint": to.endpoint,
        "AllowedIPs": ", ".join(to.allowed_ips),
        "PersistentKeepalive": to.persistent_keepalive or None,
    }
    lines = [f"# {peer.name}" if peer.name else f"# {peer.public_key}", "[Interface]"]
    if private_key is None:
        lines.append(f"# PrivateKey = the one that belongs to {peer.public_key}")
    lines += [f"{key} = {value}" for key, value in interface.items() if value is not None]
    lines += ["", "[Peer]"]
    lines += [f"{key} = {value}" for key, value in gateway.items() if value is not None]
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Outlet:
    """Where a client's configuration goes."""

    output: Path | None = None
    qr: bool = False
    qr_file: Path | None = None
    _written: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.qr_file is not None and self.qr_file.suffix not in (".png", ".svg"):
            raise ConfigError(f"--qr-file {self.qr_file}: its name must end with .png or .svg")

    @property
    def is_given(self) -> bool:
        """It goes somewhere else than, as it stands, to standard output."""
        return self.output is not None or self.qr or self.qr_file is not None

    @property
    def wants_code(self) -> bool:
        """A QR code is asked for."""
        return self.qr or self.qr_file is not None

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Take the written files away again if the block fails."""
        try:
            yield
        except BaseException:
            for path in self._written:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise

    def write(self, text: str) -> None:
        """Write the files that are asked for. Raises ConfigError."""
        if self.output is not None:
            self._make(self.output, "--output", text.encode())
        if self.qr_file is not None:
            image = io.BytesIO()
            # Black on white whatever the viewer's background is.
            _code(text).save(image, kind=self.qr_file.suffix[1:], scale=6, light="white")
            self._make(self.qr_file, "--qr-file", image.getvalue())

    def drawing(self, text: str) -> str:
        """The QR code in characters of a terminal. Raises ConfigError."""
        lines = io.StringIO()
        _code(text).terminal(lines, compact=True)
        return lines.getvalue()

    def _make(self, path: Path, option: str, content: bytes) -> None:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise ConfigError(f"{option} {path}: exists already; remove it or give another name") from None
        except OSError as error:
            raise ConfigError(f"{option} {path}: {error.strerror}") from None
        self._written.append(path)
        try:
            with open(file, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(file)
        except OSError as error:
            raise ConfigError(f"{option} {path}: {error.strerror}") from None


def _code(text: str) -> segno.QRCode:
    try:
        return segno.make_qr(text, error="l", boost_error=False)
    except segno.DataOverflowError:
        raise ConfigError(
            "client.allowed_ips: the configuration is too long for a QR code; list fewer prefixes, or use --output"
        ) from None
