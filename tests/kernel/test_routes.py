"""The contract of routes, on the guest's kernel."""

from tests.contracts.kernel_routes import KernelRoutesContract


class TestRoutes(KernelRoutesContract):
    pass
