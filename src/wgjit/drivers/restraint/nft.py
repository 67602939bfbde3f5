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

from collections.abc import Iterable, Mapping

from wgjit.drivers.netlink import nftables
from wgjit.drivers.own_table import OwnTable, by_version
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


class NftRestraint:
    """Holds back the calls of one interface's port. See `drivers.base.Restraint`.

    The program `nft` makes the table, which replaces an older one. Raises CaptureError, NotPermitted.
    """

    def __init__(self, interface: str, port: int, sessions: int) -> None:
        """`sessions`: most sessions that are remembered, for IPv4 and for IPv6. Calls to others are not held back."""
        self.table = nftables.table_name(TABLE, interface)
        script = _SCRIPT.format(
            table=self.table, port=port, sessions=sessions, session=SESSION, held=HELD, most_held=_MOST_HELD
        )
        self._own = OwnTable(self.table, script, "calls")

    def put(self, sessions: Mapping[Endpoint, float]) -> None:
        """Hold back calls to these endpoints, too, until shortly before their sessions end."""
        timeouts = {endpoint: min(left - MARGIN, SESSION) for endpoint, left in sessions.items() if left > MARGIN}
        for version, keys in by_version(timeouts, _TOGETHER):
            elements = {key: timeouts[endpoint] for key, endpoint in keys.items()}
            self._own.change("session", nftables.add_elements(self.table, f"sessions{version}", elements))

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """Hold back no call to these endpoints any more."""
        for version, keys in by_version(endpoints, _TOGETHER):
            sets = (f"sessions{version}", f"held{version}")
            self._own.change("end of a session", *nftables.drop_elements(self.table, sets, keys))

    def heartbeat(self) -> None:
        """Make the table again if a reload of the firewall has flushed it. What was in its sets is lost."""
        self._own.heartbeat()

    def held(self) -> int:
        """The calls that were held back, as of the last heartbeat."""
        return self._own.counted()

    def close(self) -> None:
        """Delete the table and close the socket. Packets that wait in a queue of this network namespace are lost."""
        self._own.close()
