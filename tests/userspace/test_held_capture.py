"""Capture by NFQUEUE with the rules that any kernel takes: iptables'. tests/kernel has nft's."""

from collections.abc import Iterator

import pytest

from lab.netns import Lab
from tests.contracts.held_capture import HeldCaptureContract
from tests.contracts.site import Site
from wgjit.drivers.capture.queue import Backend


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab)
    yield made
    made.close()


class TestHeldCapture(HeldCaptureContract):
    @pytest.fixture
    def queue_backend(self) -> Backend:
        return "xt"
