"""What the lab writes for wg(8) and reads from it."""

import pytest

from lab.netns import Lab, checksum
from lab.wireguard import parse_dump, peer_section
from wgjit.model import Endpoint, PresharedKey, PrivateKey, parse_allowed_ip

KEY = PrivateKey(bytes(range(32))).public()
PSK = PresharedKey(bytes(range(1, 33)))


def test_a_peer_section_has_what_is_given_and_no_more() -> None:
    assert peer_section(KEY) == f"[Peer]\nPublicKey = {KEY}\n"
    assert peer_section(KEY, ["10.8.0.2/32", "fd00::/64"], Endpoint.parse("[2001:db8::1]:51820"), PSK, 0) == (
        f"[Peer]\nPublicKey = {KEY}\nPresharedKey = {PSK.reveal_base64()}\nAllowedIPs = 10.8.0.2/32, fd00::/64\n"
        "Endpoint = [2001:db8::1]:51820\nPersistentKeepalive = 0\n"
    )


def test_a_dump_is_read_whole() -> None:
    interface = f"{PSK.reveal_base64()}\t{KEY}\t51820\toff\n"
    fresh = f"{KEY}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
    (peer,) = parse_dump(interface + fresh).values()
    assert (peer.public_key, peer.allowed_ips, peer.preshared_key, peer.endpoint) == (KEY, (), None, None)
    assert (peer.keepalive, peer.last_handshake, peer.rx_bytes, peer.tx_bytes) == (0, 0.0, 0, 0)

    used = f"{KEY}\t{PSK.reveal_base64()}\t192.0.2.1:7\t10.8.0.2/32,fd00::/64\t1700000000\t92\t148\t25\n"
    (peer,) = parse_dump(interface + used).values()
    assert peer.allowed_ips == (parse_allowed_ip("10.8.0.2/32"), parse_allowed_ip("fd00::/64"))
    assert (peer.preshared_key, str(peer.endpoint)) == (PSK, "192.0.2.1:7")
    assert (peer.keepalive, peer.last_handshake, peer.rx_bytes, peer.tx_bytes) == (25, 1.7e9, 92, 148)

    assert parse_dump(interface) == {}


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF  # the example of its section 3
    assert checksum(b"\xff\xff" * 3 + b"\x00\x01") == 0xFFFE  # two carries


def test_interface_names_are_new_each_time_and_fit_the_kernel() -> None:
    lab, other = Lab(), Lab()
    names = [lab.interface("wg") for _ in range(1000)] + [other.interface() for _ in range(1000)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 15
    with pytest.raises(ValueError, match="longer than 15"):
        lab.interface("much-too-long")
    for each in (lab, other):
        each.close()
