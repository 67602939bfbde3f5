"""The contract of routes, on this machine's kernel."""

from tests.contracts.kernel_routes import KernelRoutesContract


class TestRoutes(KernelRoutesContract):
    pass
