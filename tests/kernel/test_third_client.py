"""A third implementation's client at a gateway on kernel WireGuard."""

from __future__ import annotations

from tests.contracts.third_client import ThirdClientContract


class TestThirdClientAtKernelWireGuard(ThirdClientContract):
    backend = "kernel"
