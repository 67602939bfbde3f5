"""The cost of an initiation, compared with its X25519 calls: `python -m bench.decode` (`./dev bench decode`).

Each kind of initiation is processed from the IP packet to the verdict: peel, parse, mac1, claimed key, proof. The same
number of bare X25519 calls (read a public key, exchange) is timed in turn with it, one packet at a time. The lower
quartiles count. So changes in the processor's speed affect both alike, and interruptions by other programs drop out.

A proven initiation is also timed by stage: what each stage adds, and how many initiations per second one core can take
up to that stage. Ends with status 1 if a ratio is over its limit. A kind without X25519 is compared with one call.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import quantiles
from time import perf_counter_ns
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from bench.plot import bars
from bench.report import Report, add_option
from wgjit.refusal import Refusal
from wgjit.wire.endpoint import Endpoint
from wgjit.wire.kdf import hash_, mac
from wgjit.wire.keys import PrivateKey, PublicKey
from wgjit.wire.messages import MAC1_COVERS, NO_MAC2, parse_initiation
from wgjit.wire.noise import Initiator, Responder
from wgjit.wire.packets import build, peel
from wgjit.wire.tai64n import Tai64n

LIMIT = 1.25
"""Greatest ratio of an initiation's cost to that of its X25519 calls."""
FREE_LIMIT = 0.5
"""Greatest cost of an initiation without X25519, as a share of one call."""

BATCH = 20
"""Different packets of each kind; a round processes each once."""

SOURCE, DESTINATION = Endpoint.parse("192.0.2.1:4000"), Endpoint.parse("192.0.2.2:51820")

Outcome = Tai64n | PublicKey | Refusal


class Kind(NamedTuple):
    name: str
    calls: int
    """X25519 calls that it takes to find out."""
    packets: list[bytes]
    process: Callable[[bytes], Outcome]
    expected: type[Tai64n] | type[PublicKey] | Refusal


class Result(NamedTuple):
    name: str
    calls: int
    microseconds: float
    x25519_microseconds: float
    """The bare calls alone."""
    ratio: float
    limit: float


class Stage(NamedTuple):
    name: str
    microseconds: float
    """What this stage alone takes."""
    calls: int
    """X25519 calls in it."""
    cumulative: float
    """Microseconds from the packet to the end of this stage."""
    per_second: float
    """Initiations that one core takes so far in a second."""


def kinds() -> list[Kind]:
    gateway, stranger = PrivateKey.generate(), PrivateKey.generate()
    responder = Responder(gateway)
    mac1_key = hash_(b"mac1----" + responder.public_key)
    fresh = [
        Initiator(PrivateKey.generate(), responder.public_key).initiate(n, Tai64n.from_unix(n)) for n in range(BATCH)
    ]
    foreign = [Initiator(stranger, stranger.public()).initiate(n, Tai64n.from_unix(n)) for n in range(BATCH)]

    def altered(message: bytes, start: int, value: bytes) -> bytes:
        """The message with other bytes at `start` and a mac1 that fits them."""
        body = (message[:start] + value + message[start + len(value) :])[:MAC1_COVERS]
        return body + mac(mac1_key, body) + NO_MAC2

    def packets(messages: Sequence[bytes]) -> list[bytes]:
        return [build(SOURCE, DESTINATION, message) for message in messages]

    def identify(packet: bytes) -> Outcome:
        datagram = peel(packet)
        if isinstance(datagram, Refusal):
            return datagram
        initiation = parse_initiation(datagram.payload)
        if isinstance(initiation, Refusal):
            return initiation
        if not responder.check_mac1(initiation):
            return Refusal.BAD_MAC1
        claimed = responder.identify(initiation)
        return claimed if isinstance(claimed, Refusal) else claimed.public_key

    def prove(packet: bytes) -> Outcome:
        datagram = peel(packet)
        if isinstance(datagram, Refusal):
            return datagram
        initiation = parse_initiation(datagram.payload)
        if isinstance(initiation, Refusal):
            return initiation
        if not responder.check_mac1(initiation):
            return Refusal.BAD_MAC1
        claimed = responder.identify(initiation)
        return claimed if isinstance(claimed, Refusal) else responder.prove(claimed)

    garbage = [message[:-1] for message in fresh]
    bad_static = [altered(message, 40, bytes(48)) for message in fresh]
    bad_point = [altered(message, 8, bytes(32)) for message in fresh]
    forged = [altered(message, 88, bytes(28)) for message in fresh]
    return [
        Kind("garbage", 0, packets(garbage), prove, Refusal.BAD_LENGTH),
        Kind("bad mac1", 0, packets(foreign), prove, Refusal.BAD_MAC1),
        Kind("bad point", 1, packets(bad_point), prove, Refusal.BAD_POINT),
        Kind("bad static", 1, packets(bad_static), prove, Refusal.BAD_STATIC),
        Kind("claimed, key unknown", 1, packets(fresh), identify, PublicKey),
        Kind("forged", 2, packets(forged), prove, Refusal.FORGED),
        Kind("proven", 2, packets(fresh), prove, Tai64n),
    ]


def check(kind: Kind) -> None:
    """What is timed does what its name says."""
    for packet in kind.packets:
        outcome = kind.process(packet)
        is_right = outcome is kind.expected if isinstance(kind.expected, Refusal) else type(outcome) is kind.expected
        if not is_right:
            sys.exit(f"bench decode: {kind.name}: {outcome!r} instead of {kind.expected!r}")


def measure(cases: list[Kind], rounds: int) -> list[Result]:
    private = X25519PrivateKey.generate()
    publics = [X25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(BATCH)]

    def pairs(kind: Kind) -> Iterator[tuple[int, int]]:
        """Nanoseconds for each packet, and for its X25519 calls right after it (one, if it has none)."""
        process, calls = kind.process, range(kind.calls or 1)
        for packet, public in zip(kind.packets, publics, strict=True):
            start = perf_counter_ns()
            process(packet)
            between = perf_counter_ns()
            for _ in calls:
                private.exchange(X25519PublicKey.from_public_bytes(public))
            yield between - start, perf_counter_ns() - between

    timed: dict[str, list[tuple[int, int]]] = {kind.name: [] for kind in cases}
    for _ in range(rounds):
        for kind in cases:
            timed[kind.name] += pairs(kind)
    return [_result(kind, timed[kind.name]) for kind in cases]


STAGES = (("peel and parse", 0), ("mac1", 0), ("es: claimed key", 1), ("ss: proven", 1))
"""Each with its X25519 calls."""


def measure_stages(rounds: int) -> list[Stage]:
    """The stages of a proven initiation, in their order."""
    responder = Responder(PrivateKey.generate())
    packets = [
        build(
            SOURCE, DESTINATION, Initiator(PrivateKey.generate(), responder.public_key).initiate(n, Tai64n.from_unix(n))
        )
        for n in range(BATCH)
    ]

    def times(packet: bytes) -> tuple[int, ...]:
        """Nanoseconds of each stage."""
        start = perf_counter_ns()
        datagram = peel(packet)
        assert not isinstance(datagram, Refusal)
        initiation = parse_initiation(datagram.payload)
        assert not isinstance(initiation, Refusal)
        parsed = perf_counter_ns()
        is_ours = responder.check_mac1(initiation)
        checked = perf_counter_ns()
        claimed = responder.identify(initiation)
        assert not isinstance(claimed, Refusal)
        identified = perf_counter_ns()
        timestamp = responder.prove(claimed)
        proven = perf_counter_ns()
        if not is_ours or isinstance(timestamp, Refusal):
            sys.exit(f"bench decode: by stage: {timestamp!r}, mac1 {is_ours}")
        return parsed - start, checked - parsed, identified - checked, proven - identified

    columns = zip(*(times(packet) for _ in range(rounds) for packet in packets), strict=True)
    found: list[Stage] = []
    total = 0.0
    for (name, calls), column in zip(STAGES, columns, strict=True):
        alone = quantiles(column, n=4)[0] / 1000
        total += alone
        found.append(Stage(name, alone, calls, total, 1e6 / total))
    return found


def tell(report: Report, results: list[Result], stages: list[Stage]) -> None:
    """Both tables, and the plot of the first."""
    report.table(
        ("initiation", "µs", "X25519 calls", "µs of them", "ratio", "limit"),
        (
            (name, f"{cost:.1f}", f"{calls}", f"{bare:.1f}", f"{ratio:.3f}", f"{limit:.2f}")
            for name, calls, cost, bare, ratio, limit in results
        ),
    )
    report.say("Where there is no X25519, the ratio is the share of one. A proven initiation by stage, on one core:")
    report.table(
        ("stage", "µs", "X25519 calls", "µs up to here", "initiations/s up to here"),
        (
            (name, f"{alone:.2f}", f"{calls}", f"{total:.2f}", f"{rate:,.0f}")
            for name, alone, calls, total, rate in stages
        ),
    )
    title = "What an initiation costs beside its X25519 calls, µs"
    series = {
        "from packet to verdict": [result.microseconds for result in results],
        "its X25519 calls": [result.x25519_microseconds for result in results],
    }
    report.plot(
        "decode", bars(title, [result.name.removesuffix(", key unknown") for result in results], series, "µs"), title
    )


def _result(kind: Kind, timed: list[tuple[int, int]]) -> Result:
    cost, bare = (quantiles(column, n=4)[0] / 1000 for column in zip(*timed, strict=True))
    limit = LIMIT if kind.calls else FREE_LIMIT
    return Result(kind.name, kind.calls, cost, bare if kind.calls else 0.0, cost / bare, limit)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.decode", description="The cost of an initiation beside its X25519.")
    parser.add_argument("--rounds", type=int, default=200, help="times 20 packets of each kind (default: 200)")
    parser.add_argument("--json", action="store_true", help="one object per line")
    add_option(parser)
    options = parser.parse_args(arguments)
    if options.json and options.write:
        parser.error("--json: not with --write")
    if options.rounds < 1:
        parser.error("--rounds: must be at least 1")
    cases = kinds()
    for kind in cases:
        check(kind)
    results = measure(cases, options.rounds)
    stages = measure_stages(options.rounds)
    if options.json:
        for row in (*results, *stages):
            print(json.dumps(row._asdict()))
    else:
        report = Report("decode", options.write)
        report.head(arguments)
        tell(report, results, stages)
        report.finish()
    over = [result.name for result in results if result.ratio > result.limit]
    if over:
        print(f"bench decode: over the limit: {', '.join(over)}", file=sys.stderr)
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
