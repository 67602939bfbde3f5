"""Handed-out configurations on kernel WireGuard."""

from __future__ import annotations

from tests.contracts.handing_out import HandingOutContract


class TestHandingOutOnKernelWireGuard(HandingOutContract):
    backend = "kernel"
