"""The gateway's Unix socket. The client sends one line of JSON, and the gateway answers with lines of JSON.

    {"ask": "status"}   →  one line, then the end
    {"ask": "health"}   →  one line, then the end
    {"ask": "drain"}    →  how far it is, at once and twice a second; the end when it is over or somebody undrains
    {"ask": "undrain"}  →  one line, then the end
    {"ask": "feed"}     →  {"feed": "open"}, then one line per initiation, until either side hangs up

A drain goes on when its asker hangs up. An answer {"error": TEXT, "kind": NAME} tells why a question is not
answered; NAME is that of an exception.

The socket's file permissions let only its owner ask. No message on the socket holds a private or preshared key.
"""

from __future__ import annotations

from pathlib import Path

from wgjit.run_folder import run_folder

_END, _API = ".sock", ".api.sock"


def socket_path(interface: str) -> Path:
    """The control socket of the gateway on this interface."""
    return run_folder() / f"{interface}{_END}"


def interfaces() -> list[str]:
    """The interfaces that have a control socket here, by name: of running gateways, and of killed ones."""
    try:
        names = sorted(path.name for path in run_folder().iterdir())
    except OSError:
        return []
    return [name.removesuffix(_END) for name in names if name.endswith(_END) and not name.endswith(_API)]
