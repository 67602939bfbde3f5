"""The gateway's Unix socket: one line of JSON asks, lines of JSON answer.

    {"ask": "status"}  →  one line, then the end
    {"ask": "feed"}    →  one line per initiation, until either side hangs up

The socket's file permissions decide who may ask: its owner. It is no secret-bearing surface: nothing that goes over
it holds a private or preshared key.
"""

from __future__ import annotations

from pathlib import Path

from wgjit.config import run_folder


def socket_path(interface: str) -> Path:
    """The control socket of the gateway on this interface."""
    return run_folder() / f"{interface}.sock"
