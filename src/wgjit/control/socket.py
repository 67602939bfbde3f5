"""The gateway's Unix socket. The client sends one line of JSON, and the gateway answers with lines of JSON.

    {"ask": "status"}  →  one line, then the end
    {"ask": "feed"}    →  {"feed": "open"}, then one line per initiation, until either side hangs up

The socket's file permissions let only its owner ask. No message on the socket holds a private or preshared key.
"""

from __future__ import annotations

from pathlib import Path

from wgjit.config import run_folder


def socket_path(interface: str) -> Path:
    """The control socket of the gateway on this interface."""
    return run_folder() / f"{interface}.sock"
