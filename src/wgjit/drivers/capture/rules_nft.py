"""Queue rules by nftables, in a table of their own, with a dead-man switch.

The chain comes after the filter chains, so only packets that the firewall admits are held. The rules match only while
the port is in the set `alive`. The kernel lets this element expire after three seconds, and `heartbeat` renews it. So a
daemon that is stuck with its queue open does harm for three seconds at most. A daemon that has died does no harm at all
(`bypass`).

Well-formed transport data, responses and cookie replies never go to the queue: type 2, 3 or 4 and zero reserved bytes
in the first word of the UDP payload. All other packets to the port go there, also garbage, so that each is counted by
its refusal.

If one source, an IPv4 address or an IPv6 /64, sends more than RATE, its further packets pass unseen, because reading
them would delay the queue's other sources. If a set of sources is full, a new source is not limited, and its packets go
to the queue.
"""

from __future__ import annotations

import threading

from wgjit.drivers.capture.rules import run
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink import nftables
from wgjit.drivers.netlink.netfilter import Request

TABLE = "wgjit_"
"""The beginning of a table's name."""

DEAD_AFTER = 3
"""Seconds without a heartbeat after which no packet is queued any more."""

RATE, BURST = 200, 400
"""Packets of one source that are queued per second, and at once, with the gateway's default of gateway.source_rate:
twice what the gateway itself would look at. With another rate both change with it."""

RULES = 6
"""Rules in the table. Another program may have flushed them and left the table."""

_SOURCES = 65535
_QUIET = 5
"""Seconds without a packet after which a source is forgotten. Its bucket is full again after two seconds."""

_SCRIPT = """\
table inet {table}
delete table inet {table}
table inet {table} {{
    set alive {{
        type inet_service
        flags timeout
        timeout {dead_after}s
        elements = {{ {port} }}
    }}
    set loud4 {{
        type ipv4_addr
        size {sources}
        flags dynamic,timeout
        timeout {quiet}s
    }}
    set loud6 {{
        type ipv6_addr
        size {sources}
        flags dynamic,timeout
        timeout {quiet}s
    }}
    counter asked {{ }}
    counter loud {{ }}
    chain input {{
        type filter hook input priority filter + 10; policy accept;
        udp dport @alive @th,64,32 != {{ 0x02000000, 0x03000000, 0x04000000 }} jump knock
        udp dport @alive udp length < 12 jump knock
    }}
    chain knock {{
        counter name "asked"
        update @loud4 {{ ip saddr limit rate over {rate}/second burst {burst} packets }} counter name "loud" accept
        update @loud6 {{ ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over {rate}/second burst {burst} packets }} \
counter name "loud" accept
        queue flags bypass to {queue}
    }}
}}
"""


class NftRules:
    """Rules for IPv4 and IPv6. The program `nft` makes them once, and netlink messages keep them alive."""

    def __init__(self, interface: str, port: int, queue: int, louder: float = 1.0) -> None:
        """`louder`: what the gateway lets a source send, as a multiple of the default."""
        self.table = nftables.table_name(TABLE, interface)
        self._script = _SCRIPT.format(
            table=self.table, port=port, queue=queue, dead_after=DEAD_AFTER,
            sources=_SOURCES, quiet=_QUIET,
            rate=max(1, round(RATE * louder)), burst=max(1, round(BURST * louder)),
        )  # fmt: skip
        self._renewal = _renewal(self.table, port)
        self._earlier = self._asked = 0
        self._earlier_beyond = self._beyond = 0
        self._netfilter = nfnetlink.NetfilterSocket()
        self._turn = threading.Lock()  # the heartbeat and a reader of the counter may be on two threads

    def install(self) -> None:
        """Put the table in force. It replaces an older table in one transaction."""
        run("nft", "-f", "-", stdin=self._script)
        self._earlier, self._asked = self._earlier + self._asked, 0
        self._earlier_beyond, self._beyond = self._earlier_beyond + self._beyond, 0

    def heartbeat(self) -> bool:
        """Renew the port's element. Make the table again if another program has flushed or deleted it, or its rules."""
        try:
            with self._turn:
                self._netfilter.request(*self._renewal)
                if len(self._netfilter.dump(nftables.list_rules(self.table))) == RULES:
                    return False
        except FileNotFoundError:  # ENOENT: no such table
            pass
        except OSError as error:
            raise nfnetlink.refused(f"heartbeat of nft table {self.table}", error) from error
        self.install()
        return True

    def asked(self) -> int:
        """Packets that matched the rules since the first install, including those beyond their source's limit."""
        try:
            with self._turn:
                self._asked, self._beyond = (
                    sum(nftables.counted(nfnetlink.content(answer)) for answer in self._netfilter.request(question))
                    for question in (nftables.read_counter(self.table, name) for name in ("asked", "loud"))
                )
        except FileNotFoundError:
            pass  # the table was flushed; the next heartbeat makes it again
        except OSError as error:
            raise nfnetlink.refused(f"counter of nft table {self.table}", error) from error
        return self._earlier + self._asked

    def beyond(self) -> int:
        """Packets beyond their source's limit, as of the last `asked`."""
        return self._earlier_beyond + self._beyond

    def disarm(self) -> None:
        """Empty the set `alive`.

        The table stays until all packets have their verdict. When a chain is removed, the kernel drops every packet
        that waits in any queue of the network namespace (nf_unregister_net_hook), also in other programs' queues.
        """
        try:
            self._netfilter.request(*nftables.transaction(nftables.empty_set(self.table, "alive")))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise nfnetlink.refused(f"disarming of nft table {self.table}", error) from error

    def remove(self) -> None:
        """Delete the table and close the socket."""
        try:
            self._netfilter.request(*nftables.transaction(nftables.delete_table(self.table)))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise nfnetlink.refused(f"removal of nft table {self.table}", error) from error
        finally:
            self._netfilter.close()


def _renewal(table: str, port: int) -> tuple[Request, ...]:
    """Empty the set and put the port in, as one transaction.

    In older kernels, such as Linux 6.1, an existing element keeps its old timeout when it is added again, and deleting
    an expired element is an error. Emptying the set avoids both.
    """
    key = port.to_bytes(2, "big")
    return nftables.transaction(
        nftables.empty_set(table, "alive"), nftables.add_elements(table, "alive", {key: DEAD_AFTER})
    )
