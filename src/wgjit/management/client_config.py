"""The configuration that a client gets, as wg-quick and the WireGuard apps read it.

The configuration holds the client's private key, which is stored nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgjit.config import read_private_key
from wgjit.errors import ConfigError
from wgjit.management.site import Site
from wgjit.model import Peer, PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Server:
    """What a client has to know about the gateway."""

    public_key: PublicKey
    endpoint: str
    allowed_ips: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int | None
    persistent_keepalive: int


def keys(public_key: str | None) -> tuple[PrivateKey | None, PublicKey]:
    """A client's keys: the given public key alone, or a new key pair. Raises InvalidValue."""
    if public_key is not None:
        return None, PublicKey.parse(public_key)
    private_key = PrivateKey.generate()
    return private_key, private_key.public()


def server(site: Site, public_key: PublicKey | None = None) -> Server:
    """The gateway as the configuration describes it. Raises ConfigError, which names all missing settings.

    `public_key` is the gateway's key, if the calling code knows it. Otherwise it comes from `client.public_key`, or it
    is derived from the file of the private key.
    """
    client, interface = site.config.client, site.config.interface
    missing = []
    if client.endpoint is None:
        missing.append('client.endpoint (such as "vpn.example.org")')
    if client.public_key is None and public_key is None and interface.private_key_file is None:
        missing.append("interface.private_key_file or client.public_key")
    if client.endpoint is None or missing:
        raise ConfigError(
            f"{site.source}: for a client's configuration, set {' and '.join(missing)}; "
            "or give the client's own public key"
        )
    if client.public_key is not None:
        key = PublicKey.parse(client.public_key)
    elif public_key is not None:
        key = public_key
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
    """The text of the configuration. Raises ConfigError if the peer has only wider prefixes and no single address.

    Without the private key, a comment stands in its place.
    """
    addresses = [str(prefix) for prefix in peer.allowed_ips if prefix.prefixlen == prefix.max_prefixlen]
    if not addresses:
        raise ConfigError("allowed IPs: a client's configuration needs an address in it, such as 10.8.0.2/32")
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
