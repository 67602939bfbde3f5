"""Chooses a gateway's delivery from the findings, and advises what would give a better one. Decisions only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from wgjit.doctor.probe import Account, Fact, Finding, examine
from wgjit.errors import ConfigError
from wgjit.model import Delivery

__all__ = ["Account", "Choice", "Fact", "Finding", "advise", "choose_delivery", "examine", "obstacles"]


class Choice(NamedTuple):
    """A delivery, the kind of firewall rules (for hold only), and the reason."""

    delivery: Delivery
    backend: Literal["nft", "xt"] | None
    why: str


_REPLAY = (Fact.XDP_REPLAY, Fact.RAW_REPLAY_IPV4, Fact.RAW_REPLAY_IPV6)


_WHY_HOLD = {
    "nft": "the kernel holds a knock by nft rules until its peer is installed",
    "xt": "nft cannot queue here, iptables can: a knock is held, without dead-man switch",
}


def hold_by(backend: Literal["nft", "xt"]) -> Choice:
    """The choice of hold, with this kind of firewall rules."""
    return Choice(Delivery.HOLD, backend, _WHY_HOLD[backend])


def choose_delivery(
    findings: Iterable[Finding], wanted: Delivery | None = None, but_not: Delivery | None = None
) -> Choice:
    """Choose the best delivery, or the wanted one. Raises ConfigError with the reason if that cannot work here.

    `but_not` is left out of the choice, because a real attempt has failed already.

    With `wanted` None (`auto`), only a delivery that was seen to work is chosen. A wanted delivery is refused only if
    it was seen to fail: in a container nothing can be tried, and the operator knows better.
    """
    facts = {finding.name: finding for finding in findings}
    if wanted is None:
        candidates = (_choice(delivery, facts, seen=True) for delivery in Delivery if delivery is not but_not)
        return next(filter(None, candidates))
    choice = _choice(wanted, facts, seen=False)
    if choice is None:
        raise ConfigError(f"delivery {wanted.value}: cannot work here: {_reason(wanted, facts)}")
    return choice._replace(why=f"asked for; {choice.why}")


def _choice(delivery: Delivery, facts: Mapping[Fact, Finding], *, seen: bool) -> Choice | None:
    def works(*names: Fact) -> bool:
        """Whether one of these facts was seen to work, or may work (for a wanted delivery)."""
        known = [facts[name].ok if name in facts else None for name in names]
        return True in known or (not seen and None in known)

    if delivery is Delivery.HOLD:
        if works(Fact.NFT_QUEUE):
            return hold_by("nft")
        return hold_by("xt") if works(Fact.XT_QUEUE) else None
    if delivery is Delivery.REPLAY:
        if not works(Fact.PACKET_CAPTURE):
            return None
        if works(Fact.XDP_REPLAY):
            return Choice(delivery, None, "no queue works here; a knock is put back as a live XDP frame")
        if works(*_REPLAY):
            return Choice(delivery, None, "neither queue nor XDP work here; a knock is put back by raw socket")
        return None
    if delivery is Delivery.FLIP:
        if works(Fact.PACKET_CAPTURE):
            return Choice(delivery, None, "a knock cannot be held or put back here; the gateway initiates itself")
        return None
    return Choice(delivery, None, "the client knocks again by itself after 5 s")


def _reason(delivery: Delivery, facts: Mapping[Fact, Finding]) -> str:
    concerned = {
        Delivery.HOLD: (Fact.NFT_QUEUE, Fact.XT_QUEUE),
        Delivery.REPLAY: (Fact.PACKET_CAPTURE, *_REPLAY),
        Delivery.FLIP: (Fact.PACKET_CAPTURE,),
        Delivery.NONE: (),
    }[delivery]
    return "; ".join(
        f"{name.value}: {facts[name].detail}" for name in concerned if name in facts and not facts[name].ok
    )


def obstacles(findings: Iterable[Finding]) -> list[str]:
    """The reasons why no gateway can run on this machine; empty if a gateway can run."""
    facts = {finding.name: finding for finding in findings}

    def known(name: Fact, value: bool) -> bool:
        return name in facts and facts[name].ok is value

    def detail(name: Fact) -> str:
        return facts[name].detail if name in facts else "not looked at"

    found: list[str] = []
    if known(Fact.CAPABILITIES, False):
        found.append(f"{detail(Fact.CAPABILITIES)}; run as root")
    if not known(Fact.WIREGUARD_KERNEL, True) and not (known(Fact.WIREGUARD_GO, True) and known(Fact.TUN, True)):
        userspace = detail(Fact.TUN if known(Fact.WIREGUARD_GO, True) else Fact.WIREGUARD_GO)
        found.append(f"no WireGuard: {detail(Fact.WIREGUARD_KERNEL)}; wireguard-go: {userspace}")
    if known(Fact.PORT, False):
        found.append(detail(Fact.PORT))
    captures = (Fact.NFT_QUEUE, Fact.XT_QUEUE, Fact.PACKET_CAPTURE)
    if not any(known(name, True) for name in captures):
        found.append("no capture: " + "; ".join(f"{name.value}: {detail(name)}" for name in captures))
    return found


_ADVICE = {
    Fact.CAPABILITIES: "run as root, or give the process CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
    Fact.WIREGUARD_KERNEL: "a kernel with CONFIG_WIREGUARD (Linux 5.6 or newer) is faster than wireguard-go",
    Fact.WIREGUARD_GO: "install wireguard-go",
    Fact.TUN: "for wireguard-go: /dev/net/tun, open to the account that the gateway runs as (mode 666, as udev sets)",
    Fact.NFT_QUEUE: "for hold with a dead-man switch: nft (package nftables), modules nft_queue, nft_limit",
    Fact.XT_QUEUE: "for hold: iptables (package iptables) and the modules xt_NFQUEUE, xt_bpf and nfnetlink_queue",
    Fact.XDP_REPLAY: "for replay that keeps the dialled address: Linux 5.18 and CAP_BPF",
    Fact.CONFIRMATIONS: "to see at once that a session works, and not only when the device is looked at, every 2 to "
    "30 s: CONFIG_PACKET and CAP_NET_RAW",
    Fact.SERVICE_ADDRESS: "let WireGuard begin handshakes from the service address: docs/LEAVING.md has the rule",
    Fact.ROUTES: "for routes.mode residents: CAP_NET_ADMIN, and IPv6 for routes of IPv6",
    Fact.PORT: "free the port or choose another listen port, or set the interface up",
}


def advise(findings: Iterable[Finding]) -> list[str]:
    """What to install, enable or repair to get a gateway, or a better one; empty if nothing would help."""
    failing = {finding.name for finding in findings if not finding.ok}
    working = {finding.name for finding in findings if finding.ok}
    if Fact.WIREGUARD_KERNEL in working or {Fact.WIREGUARD_GO, Fact.TUN} <= working:
        failing -= {Fact.WIREGUARD_GO, Fact.TUN}
    if Fact.NFT_QUEUE in working:
        failing -= {Fact.XT_QUEUE, Fact.XDP_REPLAY}
    elif Fact.XT_QUEUE in working:
        failing -= {Fact.XDP_REPLAY}
    return [advice for name, advice in _ADVICE.items() if name in failing]
