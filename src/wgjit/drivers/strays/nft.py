"""The watch for strays by nftables, in a table of its own.

    data to a service address ─▶ known? ── no ─▶ goes on (one lookup)
                                   └─ yes ─▶ told within a minute? ── no ─▶ as many bytes as an initiation? ─▶ log

- **known**: the endpoints of peers that other gateways hold. The process keeps this set. An endpoint that is in it by
  mistake does no harm: the process looks each report up.
- **heard**: how many bytes have come from an endpoint. It is reported once they are as many as an initiation to it.
- **told**: endpoints that were reported within the last minute.

A report is the head of the packet, copied to a log group of netlink. The packet itself goes on to WireGuard, which has
no session for it and drops it. Reports are limited, so that data in the name of many known endpoints takes little of
the process's time. The rules do no harm without the process: nobody reads the group then.
"""

from __future__ import annotations

import errno
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence

from wgjit.drivers.base import StrayCounters
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink import nftables
from wgjit.drivers.own_table import OwnTable, by_version
from wgjit.drivers.packet_socket import grow_buffer
from wgjit.drivers.strays import reports
from wgjit.errors import CaptureError, MalformedAnswer
from wgjit.wire.endpoint import Endpoint

TABLE = "wgjit-strays_"
"""The beginning of a table's name."""

QUIET = 60
"""Seconds for which an endpoint that was reported is not reported again."""

HEARD = 55
"""Seconds without data after which the bytes of an endpoint are forgotten. Less than QUIET, so that each report has
bytes of its own."""

INITIATION = {4: 176, 6: 196}
"""Bytes of an initiation with its UDP and IP headers."""

RATE, BURST = 2000, 1000
"""Reports a second, and at once. An endpoint beyond that is reported with its next data."""

MOST = 4_000_000
"""Endpoints that are watched. In the kernel each takes about 100 bytes, and 180 for IPv6."""

_FIRST_GROUP, _GROUPS, _TRIES = 20000, 40000, 64
_DATAGRAM = 1024  # a report with its attributes
_AT_ONCE = 64  # reports that are read at a time
_BUFFER = 2 << 20  # bytes, taken as needed: some 1,000 reports
_TOGETHER = 1000  # keys of a message
_FEW = 200  # endpoints whose reports are forgotten together

_HEAD = """\
table inet {table}
delete table inet {table}
table inet {table} {{
    counter seen {{ }}
    chain tell {{
        log group {group} snaplen {copied} queue-threshold 1
    }}
"""
_SETS = """\
    set known{v} {{
        type {type} . inet_service
    }}
    set heard{v} {{
        type {type} . inet_service
        size 65535
        flags dynamic,timeout
        timeout {heard}s
    }}
    set told{v} {{
        type {type} . inet_service
        size 65535
        flags dynamic,timeout
        timeout {quiet}s
    }}
    chain report{v} {{
        limit rate over {rate}/second burst {burst} packets return
        add @told{v} {{ {ip} saddr . udp sport }} counter name "seen" jump tell
    }}
    chain stray{v} {{
        {ip} saddr . udp sport @told{v} return
        update @heard{v} {{ {ip} saddr . udp sport quota over {bytes} bytes }} jump report{v}
    }}
"""
_INPUT = """\
    chain input {{
        type filter hook input priority filter + 10; policy accept;
{rules}
    }}
}}
"""
_RULE = (
    "        {ip} daddr {{ {addresses} }} udp dport {port} @th,64,32 0x04000000 "
    "{ip} saddr . udp sport @known{v} jump stray{v}"
)
_TYPES = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


class NftStrays:
    """Watches one interface's port at its service addresses. See `drivers.base.StrayWatch`.

    The program `nft` makes the table, which replaces an older one. Raises CaptureError, NotPermitted.
    """

    def __init__(self, interface: str, port: int, addresses: Sequence[str], most: int = MOST) -> None:
        """`addresses`: the service addresses. `most`: endpoints that are watched at most."""
        self.table = nftables.table_name(TABLE, interface)
        self._most = most
        self._versions = sorted({6 if ":" in address else 4 for address in addresses})
        self._turn = threading.Lock()
        self._known = self._lost = 0
        self._log = nfnetlink.NetfilterSocket()
        try:
            grow_buffer(self._log.socket, _BUFFER)
            group = self._bind(interface)
            self._own = OwnTable(self.table, self._written(port, addresses, group), "seen")
        except BaseException:
            self._log.close()
            raise

    def _bind(self, interface: str) -> int:
        """Take a log group that nobody has."""
        first = zlib.crc32(interface.encode())
        for number in range(_TRIES):
            group = _FIRST_GROUP + (first + number) % _GROUPS
            try:
                self._log.request(*reports.bind(group))
            except OSError as error:
                if error.errno == errno.EBUSY:
                    continue
                hint = "the kernel needs nfnetlink_log" if error.errno in (errno.EINVAL, errno.EOPNOTSUPP) else ""
                raise nfnetlink.refused(f"log group {group}", error, hint) from error
            return group
        raise CaptureError(f"log group: {_TRIES} groups from {_FIRST_GROUP} on are taken by other programs")

    def _written(self, port: int, addresses: Sequence[str], group: int) -> str:
        text, rules = _HEAD.format(table=self.table, group=group, copied=reports.COPIED), []
        for version in self._versions:
            ip, kind = _TYPES[version]
            mine = [address for address in addresses if (":" in address) == (version == 6)]
            text += _SETS.format(
                v=version, ip=ip, type=kind, heard=HEARD, quiet=QUIET, bytes=INITIATION[version] - 1, rate=RATE,
                burst=BURST,
            )  # fmt: skip
            rules.append(_RULE.format(ip=ip, v=version, addresses=", ".join(mine), port=port))
        return text + _INPUT.format(rules="\n".join(rules))

    # --- the endpoints --------------------------------------------------------------------------------------------

    def put(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch these endpoints, too. Raises CaptureError if they are more than `most`."""
        for version, keys in self._by_set(endpoints):
            with self._turn:
                if self._known + len(keys) > self._most:
                    raise CaptureError(
                        f"nft table {self.table}: {self._most:,} endpoints are watched, and no more are: clients at "
                        "others knock by themselves, after 15 s"
                    )
                self._own.change("endpoints", nftables.add_keys(self.table, f"known{version}", keys))
                self._known += len(keys)

    def put_anew(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch these endpoints, and report each at once, even if it was reported before."""
        some = list(endpoints)
        self.put(some)
        for version, keys in self._by_set(some, _FEW):
            sets = (f"told{version}", f"heard{version}")
            with self._turn:
                self._own.change("reports", *nftables.drop_elements(self.table, sets, keys))

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch these endpoints no longer."""
        for version, keys in self._by_set(endpoints):
            name = f"known{version}"
            with self._turn:
                self._own.change(
                    "end of endpoints",
                    nftables.add_keys(self.table, name, keys),
                    nftables.delete_keys(self.table, name, keys),
                )
                self._known = max(0, self._known - len(keys))

    def clear(self) -> None:
        """Watch no endpoint."""
        with self._turn:
            self._own.change(
                "clearing", *(nftables.empty_set(self.table, f"known{version}") for version in self._versions)
            )
            self._known = 0

    def _by_set(self, endpoints: Iterable[Endpoint], together: int = _TOGETHER) -> Iterator[tuple[int, list[bytes]]]:
        """The elements of each set, some at a time, each once. Other versions have no service address."""
        for version, keys in by_version(endpoints, together):
            if version in self._versions:
                yield version, list(keys)

    # --- reports --------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable when reports wait."""
        return self._log.socket.fileno()

    def read(self) -> list[tuple[Endpoint, Endpoint]]:
        """Whence data has come, and where to. Raises CaptureError."""
        found: list[tuple[Endpoint, Endpoint]] = []
        for _ in range(_AT_ONCE):
            try:
                for message in self._log.receive(_DATAGRAM):
                    if message.kind == reports.PACKET and (ends := reports.ends(message)) is not None:
                        found.append(ends)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise nfnetlink.refused(f"log of nft table {self.table}", error) from error
                self._lost += 1  # the socket was full, so at least one was lost; more may wait
            except MalformedAnswer as error:
                raise CaptureError(f"log of nft table {self.table}: {error}") from error
        return found

    def heartbeat(self) -> bool:
        """Make the table again if a reload of the firewall has flushed it."""
        with self._turn:
            was_gone = self._own.heartbeat()
            if was_gone:
                self._known = 0
        return was_gone

    def counters(self) -> StrayCounters:
        """The numbers, as of the last heartbeat."""
        return StrayCounters(self._known, self._own.counted(), self._lost)

    def close(self) -> None:
        """Delete the table and close the sockets. Packets that wait in a queue of this network namespace are lost."""
        try:
            self._own.close()
        finally:
            self._log.close()
