"""The recorder of test vectors with the kernel's WireGuard."""

from tests.contracts.vectors import RecorderContract


class TestRecorder(RecorderContract):
    pass
