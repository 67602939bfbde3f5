"""The restraint by nftables, in a table of its own.

WireGuard calls a peer (it sends an initiation of its own) when it has sent data and heard nothing for 15 s. A client
that only the network has moved to another gateway gets such calls, and the data before them. Both keep the client's
own timer from running out, so it never knocks at the other gateway; or it answers, and is back at the first one.

    response ─▶ sessions ── call ─▶ held ── response, or data that comes in ─▶ free
                (175 s)            (25 s)── time ─▶ free

- **sessions**: WireGuard has answered an initiation from this address and port, so a session of the client's own making
  is up. The kernel notes it in the packet's way, so a rekey costs the gateway nothing.
- **held**: WireGuard has called a client of `sessions`. The call is dropped, and so is all data, until the client is
  heard from. The client hears nothing more and knocks by itself, 15 s after the first packet that it has sent in vain.
- Then the address is in neither set, so that nothing holds back WireGuard's further calls. Its next response puts the
  address into `sessions` again.

A call to a client without a session is never dropped: its address is in no set. The rules go on without the daemon, and
do no harm then: after each of the client's own handshakes, they hold back for at most HELD seconds.

Data is dropped, too, because a client that hears something does not knock; and because WireGuard forgets the local
address of a peer that does not answer, so that data may leave from an address that only this gateway has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from wgjit.drivers.capture.rules import run
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink import nftables
from wgjit.drivers.netlink.netfilter import Request
from wgjit.wire.endpoint import Endpoint

TABLE = "wgjit-calls_"
"""The beginning of a table's name."""

MARGIN = 5
"""Seconds before a session's end from which on calls are not held back: a call after the end is waited for."""

SESSION = 180 - MARGIN
"""Seconds after a response for which calls to its receiver are held back. WireGuard ends a session after 180 s
(REJECT_AFTER_TIME)."""

HELD = 25
"""Seconds for which calls are held back. The client knocks 15.4 s after the first packet that it sends in vain
(KEEPALIVE_TIMEOUT, REKEY_TIMEOUT, and up to a third of a second at random); the rest is for clients that seldom send,
and for the news from the other gateway."""

_MOST_HELD = 65535
_TOGETHER = 256  # elements in a message: 16 KiB at most

_SCRIPT = """\
table inet {table}
delete table inet {table}
table inet {table} {{
    set sessions4 {{
        type ipv4_addr . inet_service
        size {sessions}
        flags dynamic,timeout
        timeout {session}s
    }}
    set sessions6 {{
        type ipv6_addr . inet_service
        size {sessions}
        flags dynamic,timeout
        timeout {session}s
    }}
    set held4 {{
        type ipv4_addr . inet_service
        size {most_held}
        flags dynamic,timeout
        timeout {held}s
    }}
    set held6 {{
        type ipv6_addr . inet_service
        size {most_held}
        flags dynamic,timeout
        timeout {held}s
    }}
    counter calls {{ }}
    chain output {{
        type filter hook output priority filter + 10; policy accept;
        udp sport {port} jump say
    }}
    chain input {{
        type filter hook input priority filter + 10; policy accept;
        udp dport {port} @th,64,32 0x04000000 jump hear
    }}
    chain say {{
        @th,64,32 0x04000000 ip daddr . udp dport @held4 drop
        @th,64,32 0x04000000 ip6 daddr . udp dport @held6 drop
        @th,64,32 0x02000000 jump answer
        @th,64,32 0x01000000 jump call
    }}
    chain answer {{
        update @sessions4 {{ ip daddr . udp dport }}
        update @sessions6 {{ ip6 daddr . udp dport }}
        delete @held4 {{ ip daddr . udp dport }}
        delete @held6 {{ ip6 daddr . udp dport }}
    }}
    chain call {{
        ip daddr . udp dport @held4 counter name "calls" drop
        ip6 daddr . udp dport @held6 counter name "calls" drop
        ip daddr . udp dport @sessions4 add @held4 {{ ip daddr . udp dport }} jump hold
        ip6 daddr . udp dport @sessions6 add @held6 {{ ip6 daddr . udp dport }} jump hold
    }}
    chain hold {{
        delete @sessions4 {{ ip daddr . udp dport }}
        delete @sessions6 {{ ip6 daddr . udp dport }}
        counter name "calls" drop
    }}
    chain hear {{
        ip saddr . udp sport @held4 delete @held4 {{ ip saddr . udp sport }}
        ip6 saddr . udp sport @held6 delete @held6 {{ ip6 saddr . udp sport }}
    }}
}}
"""
_V4_IN_V6 = bytes(10) + b"\xff\xff"


class NftRestraint:
    """Holds back the calls of one interface's port. See `drivers.base.Restraint`.

    The program `nft` makes the table, which replaces an older one. Raises CaptureError, NotPermitted.
    """

    def __init__(self, interface: str, port: int, sessions: int) -> None:
        """`sessions`: most sessions that are remembered, for IPv4 and for IPv6. Calls to others are not held back."""
        self.table = nftables.table_name(TABLE, interface)
        self._script = _SCRIPT.format(
            table=self.table, port=port, sessions=sessions, session=SESSION, held=HELD, most_held=_MOST_HELD
        )
        self._counter = nftables.read_counter(self.table, "calls")
        self._earlier = self._held = 0
        self._netfilter = nfnetlink.NetfilterSocket()
        try:
            self._install()
        except BaseException:
            self._netfilter.close()
            raise

    def _install(self) -> None:
        run("nft", "-f", "-", stdin=self._script)
        self._earlier += self._held
        self._held = 0

    def put(self, sessions: Mapping[Endpoint, float]) -> None:
        """Hold back calls to these endpoints, too, until shortly before their sessions end."""
        timeouts = {endpoint: min(left - MARGIN, SESSION) for endpoint, left in sessions.items() if left > MARGIN}
        for name, keys in _by_set(timeouts):
            self._do("session", nftables.add_elements(self.table, f"sessions{name}", keys))

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """Hold back no call to these endpoints any more."""
        for name, keys in _by_set(dict.fromkeys(endpoints, 1.0)):
            # Deleting an element that is not there fails, so each is put in before.
            steps = [
                step(self.table, kind + name, keys)
                for kind in ("sessions", "held")
                for step in (nftables.add_elements, nftables.delete_elements)
            ]
            self._do("end of a session", *steps)

    def _do(self, what: str, *requests: Request) -> None:
        try:
            self._netfilter.request(*nftables.transaction(*requests))
        except FileNotFoundError:
            pass  # the table was flushed; the next heartbeat makes it again
        except OSError as error:
            raise nfnetlink.refused(f"nft table {self.table}: {what}", error) from error

    def heartbeat(self) -> None:
        """Make the table again if a reload of the firewall has flushed it. What was in its sets is lost."""
        try:
            for answer in self._netfilter.request(self._counter):
                self._held = nftables.counted(nfnetlink.content(answer))
        except FileNotFoundError:  # ENOENT: no such table
            self._install()
        except OSError as error:
            raise nfnetlink.refused(f"nft table {self.table}", error) from error

    def held(self) -> int:
        """The calls that were held back, as of the last heartbeat."""
        return self._earlier + self._held

    def close(self) -> None:
        """Delete the table and close the socket. Packets that wait in a queue of this network namespace are lost."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._netfilter.request(*nftables.transaction(nftables.delete_table(self.table)))
        except OSError as error:
            raise nfnetlink.refused(f"removal of nft table {self.table}", error) from error
        finally:
            self._netfilter.close()


def _by_set(endpoints: Mapping[Endpoint, float]) -> Iterable[tuple[str, dict[bytes, float]]]:
    """The elements of each set, in messages of some hundred. An IPv4-mapped address is an IPv4 address on the wire."""
    for name, size in (("4", 4), ("6", 16)):
        keys = {_key(endpoint): seconds for endpoint, seconds in endpoints.items() if len(_plain(endpoint)) == size}
        while keys:
            some = dict(list(keys.items())[:_TOGETHER])
            yield name, some
            for key in some:
                del keys[key]


def _plain(endpoint: Endpoint) -> bytes:
    return endpoint.address[12:] if endpoint.address.startswith(_V4_IN_V6) else endpoint.address


def _key(endpoint: Endpoint) -> bytes:
    """`addr . port` as nftables has it: each part is padded to four bytes."""
    return _plain(endpoint) + endpoint.port.to_bytes(2, "big") + b"\0\0"
