"""The recorder of test vectors with wireguard-go."""

from tests.contracts.vectors import RecorderContract


class TestRecorder(RecorderContract):
    pass
