"""WireGuard configuration text -> peers with line numbers, and what is refused."""

import pytest

from tests.contracts.store import key
from wgjit.errors import InvalidValue
from wgjit.management.wg_config import read_peers
from wgjit.model import Peer, PresharedKey, parse_allowed_ip

K1, K2, K3 = str(key(1)), str(key(2)), str(key(3))
PSK = PresharedKey(b"p" * 32)

SERVER = f"""[Interface]
PrivateKey = not read at all
PostUp = iptables -A FORWARD -i %i -j ACCEPT # [Peer]

# alice
[Peer]
PublicKey = {K1}
PresharedKey = {PSK.reveal_base64()}
AllowedIPs = 10.8.0.2/32, fd00::2/128
Endpoint = vpn.example.org:51820
PersistentKeepalive = 25

[peer]
publickey={K2}   # a remark
allowedips = 10.8.0.77/24,
AllowedIPs = 10.8.0.0/24,fd00::3
PersistentKeepalive = off
[Peer]
PublicKey = {K3}
"""


def peers(text: str, **options: bool) -> list[tuple[int, Peer]]:
    return list(read_peers(text.splitlines(keepends=True), **options))


def prefixes(*texts: str) -> tuple:
    return tuple(map(parse_allowed_ip, texts))


def test_a_server_configuration() -> None:
    assert peers(SERVER) == [
        (6, Peer(key(1), prefixes("10.8.0.2", "fd00::2"), PSK, 25, name="alice")),
        (13, Peer(key(2), prefixes("10.8.0.0/24", "fd00::3"))),
        (18, Peer(key(3))),
    ]
    assert [peer.name for _, peer in peers(SERVER, names=False)] == [None, None, None]
    assert peers("") == []
    assert peers("[Interface]\nPrivateKey = x\n") == []


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("# alice", "", "alice"),
        ("", "# alice", "alice"),
        ("# alice", "# her old phone", "alice"),
        ("### Client alice", "", "alice"),
        ("### begin alice ###", "", "alice"),
        ("# Name = alice", "", "alice"),
        ("", "# friendly_name = alice", "alice"),
        ("# clients", "", "clients"),
        ("# someone else\n# alice", "", "alice"),
        ("# alice\n", "", "alice"),
        ("# someone else\n\n# alice\n\n", "", "alice"),
        ("", "", None),
        ("#", "# ", None),
        ("#PresharedKey = AAAA", "", None),
        ("# allowedips=10.0.0.1/32", "", None),
        ("#[Peer]", "", None),
        (f"# {K2}", "", None),  # a key is no name
        ("# " + "x" * 201, "", None),
        ("# a\x1b[31mb", "", None),
    ],
)
def test_names(before: str, after: str, name: str | None) -> None:
    ((_, peer),) = peers(f"{before}\n[Peer]\n{after}\nPublicKey = {K1}\n# not a name\nAllowedIPs =\n")
    assert peer == Peer(key(1), name=name)


def test_a_comment_below_the_last_key_names_the_next_peer() -> None:
    text = f"[Peer]\nPublicKey = {K1}\n# bob\n[Peer]\nPublicKey = {K2}\n# nobody\n"
    assert [peer.name for _, peer in peers(text)] == [None, "bob"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("PublicKey = x", "line 1: a setting outside any section"),
        ("[Peer]\nPublicKey = x", "line 2: public key: not a WireGuard key"),
        (f"[Peer]\nPublicKey = {K1}\nPublicKey = {K2}", "line 3: PublicKey a second time"),
        (f"[Peer]\nPublicKey = {K1}\nPresharedKey = SECRET", "line 3: preshared key: not a WireGuard key"),
        (f"[Peer]\nPublicKey = {K1}\nAllowedIPs = 10.0.0.1/33", "line 3: AllowedIPs: "),
        (f"[Peer]\nPublicKey = {K1}\nAllowedIPs = SECRETS", "line 3: AllowedIPs: "),
        (f"[Peer]\nPublicKey = {K1}\nPersistentKeepalive = 65536", "line 3: PersistentKeepalive: write off"),
        (f"[Peer]\nPublicKey = {K1}\nPersistentKeepalive = ²", "line 3: PersistentKeepalive: write off"),
        (f"[Peer]\nPublicKey = {K1}\nKeepalive = 5", "line 3: unknown key 'Keepalive' in \\[Peer\\]"),
        (f"[Peer]\nPublicKey = {K1}\nSECRET", "line 3: not a setting"),
        (f"[Peer]\nPublicKey = {K1}\n[Pear]", "line 3: an unknown section"),
        ("\n[Peer]\nAllowedIPs = 10.0.0.1/32\n\n[Peer]\n", "^line 2: this \\[Peer\\] has no PublicKey"),
        ("[Peer]\n", "^line 1: this \\[Peer\\] has no PublicKey"),
    ],
)
def test_errors_name_the_line_and_no_secret(text: str, error: str) -> None:
    with pytest.raises(InvalidValue, match=error) as failed:
        peers(text)
    if "AllowedIPs" not in error:
        assert "SECRET" not in str(failed.value)


def test_it_streams() -> None:
    """A peer comes out as soon as the next section begins: a file of any length fits."""

    def endless():
        number = 0
        while True:
            number += 1
            yield "[Peer]\n"
            yield f"PublicKey = {key(number)}\n"

    stream = read_peers(endless())
    assert [next(stream)[1].public_key for _ in range(3)] == [key(1), key(2), key(3)]
