"""How long calls are held back, as numbers: the contract (contracts/restraint.py) has what the kernel makes of them."""

from __future__ import annotations

from wgjit.drivers.restraint.nft import HELD, MARGIN, SESSION


def test_a_call_is_held_back_until_shortly_before_its_session_ends() -> None:
    reject_after_time, keepalive_timeout, rekey_timeout = 180, 10, 5  # WireGuard's messages.h
    assert reject_after_time == SESSION + MARGIN
    assert keepalive_timeout + rekey_timeout + 1 < HELD < reject_after_time
