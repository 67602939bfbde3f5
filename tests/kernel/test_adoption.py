"""Adopting and releasing 5,000 peers of kernel WireGuard, 50 of them in use."""

from __future__ import annotations

from tests.contracts.adoption import AdoptionContract


class TestAdoptionOfKernelWireGuard(AdoptionContract):
    backend = "kernel"
    crowd = 5000
    live = 50
