"""What tests and benchmarks count on in a guest's kernel, each tried by a real command; on both kernels."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from lab.netns import Lab, Namespace

pytestmark = pytest.mark.smp

QUEUE = "chain c {{ type filter hook prerouting priority -300; udp dport 51820 queue flags bypass to {}; }};"
MASQUERADE = "chain p { type nat hook postrouting priority 100; oifname v masquerade; };"
RULESETS = {
    "queue inet": f"table inet q {{ {QUEUE.format(7)} }}",
    "queue ip": f"table ip q {{ {QUEUE.format(8)} }}",
    "queue ip6": f"table ip6 q {{ {QUEUE.format(9)} }}",
    "the initiation by its bytes": "table inet b { chain i { type filter hook prerouting priority -300; udp dport 51820"
    " meta length 176 @th,64,32 0x01000000 queue flags bypass to 7; }; }",
    "masquerade ip": f"table ip n {{ {MASQUERADE} }}",
    "masquerade ip6": f"table ip6 n {{ {MASQUERADE} }}",
    "masquerade inet": f"table inet n {{ {MASQUERADE} }}",
    "stateful firewall": "table inet s { chain i { type filter hook input priority 0;"
    " ct state established,related accept; udp dport 9 reject; drop; }; }",
    "ingress": "table netdev d { chain i { type filter hook ingress device lo priority 0; udp dport 9 drop; }; }",
}
RULES = {
    "NFQUEUE": "-t raw -A PREROUTING -p udp --dport 51820 -j NFQUEUE --queue-num 5 --queue-bypass",
    "length": "-A INPUT -m length --length 176 -j ACCEPT",
    "u32": "-A INPUT -m u32 --u32 0>>22&0x3C@8=0x01000000 -j ACCEPT",
    "bpf": "-A INPUT -m bpf --bytecode '1,6 0 0 65535' -j ACCEPT",
    "conntrack": "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    "MASQUERADE": "-t nat -A POSTROUTING -o v -j MASQUERADE",
}
LINKS = ("wireguard", "veth", "bridge", "dummy", "vrf table 10", "vlan id 5 link v")


@pytest.fixture(scope="module")
def machine() -> Iterator[Namespace]:
    with Lab() as lab:
        namespace = lab.namespace("x")
        namespace.ip("link add v type veth peer name w", "link set v up")
        yield namespace


@pytest.mark.parametrize("kind", LINKS)
def test_links(machine: Namespace, kind: str) -> None:
    words, _, link = kind.partition(" link ")
    machine.ip(f"link add {f'link {link} ' if link else ''}x{words.split()[0]} type {words}")


def test_tun(machine: Namespace) -> None:
    machine.ip("tuntap add xtun mode tun")


@pytest.mark.parametrize("ruleset", RULESETS.values(), ids=RULESETS)
def test_nftables(machine: Namespace, ruleset: str) -> None:
    machine.run("nft", "-f", "-", input=ruleset)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("command", ["iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"])
def test_iptables(machine: Namespace, command: str, rule: str) -> None:
    machine.run(command, *shlex.split(rule))


def test_netem(lab: Lab) -> None:
    machine = lab.namespace("x")
    machine.netem("lo", delay=0.025)
    seconds = machine.ping("127.0.0.1")
    assert seconds is not None
    assert 0.05 <= seconds < 0.5
