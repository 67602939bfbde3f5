"""Adopting and releasing peers of wireguard-go."""

from __future__ import annotations

from tests.contracts.adoption import AdoptionContract


class TestAdoptionOfWireguardGo(AdoptionContract):
    backend = "go"
    crowd = 300
    live = 3
