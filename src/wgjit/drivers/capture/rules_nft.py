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

import string
import threading

from wgjit.drivers.capture.rules import run
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink.codec import NLA_F_NESTED, NLM_F_ACK, TEXT, Codec, Table
from wgjit.drivers.netlink.netfilter import BE16, BE32, BE64, NFPROTO_INET, NLM_F_CREATE, Request

DEAD_AFTER = 3
"""Seconds without a heartbeat after which no packet is queued any more."""

RATE, BURST = 200, 400
"""Packets of one source that are queued per second, and at once: twice what the gateway itself would look at."""
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
    chain input {{
        type filter hook input priority filter + 10; policy accept;
        udp dport @alive @th,64,32 != {{ 0x02000000, 0x03000000, 0x04000000 }} jump knock
        udp dport @alive udp length < 12 jump knock
    }}
    chain knock {{
        counter name "asked"
        update @loud4 {{ ip saddr limit rate over {rate}/second burst {burst} packets }} accept
        update @loud6 {{ ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over {rate}/second burst {burst} packets }} accept
        queue flags bypass to {queue}
    }}
}}
"""

_PLAIN = (string.ascii_letters + string.digits + "-_.").encode()


def _nest(table: Table) -> Codec:
    return Codec(table.encode, table.decode, NLA_F_NESTED)


# linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_DELTABLE, _NEWSETELEM, _DELSETELEM, _GETOBJ = 2, 12, 14, 19
_OBJECT_COUNTER = 1

_TABLE = Table("nft table", {1: ("name", TEXT)})
_KEY = Table("nft data", {1: ("value", BE16)})
_ELEMENT = Table("nft set element", {1: ("key", _nest(_KEY)), 4: ("timeout", BE64)})
_ELEMENT_LIST = Table("nft set elements", {1: ("element", _nest(_ELEMENT))})
_ELEMENTS = Table(
    "nft elements of a set", {1: ("table", TEXT), 2: ("set", TEXT), 3: ("elements", _nest(_ELEMENT_LIST))}
)
_COUNTER = Table("nft counter", {1: ("bytes", BE64), 2: ("packets", BE64)})
_OBJECT = Table("nft object", {1: ("table", TEXT), 2: ("name", TEXT), 3: ("type", BE32), 4: ("data", _nest(_COUNTER))})


def table_name(interface: str) -> str:
    """An interface's table. A byte that nft does not allow is written as /hex, as no interface name has a slash."""
    safe = (
        chr(b) if chr(b).isascii() and (chr(b).isalnum() or b in b"-_.") else f"/{b:02x}" for b in interface.encode()
    )
    return "wgjit_" + "".join(safe)


class NftRules:
    """Rules for IPv4 and IPv6. The program `nft` makes them once, and netlink messages keep them alive."""

    def __init__(self, interface: str, port: int, queue: int) -> None:
        self.table = table_name(interface)
        self._script = _SCRIPT.format(
            table=self.table, port=port, queue=queue, dead_after=DEAD_AFTER,
            sources=_SOURCES, quiet=_QUIET, rate=RATE, burst=BURST,
        )  # fmt: skip
        self._alive = _ELEMENTS.encode({"table": self.table, "set": "alive"})
        self._renewal = _renewal(self.table, port)
        self._earlier = self._asked = 0
        self._netfilter = nfnetlink.NetfilterSocket()
        self._turn = threading.Lock()  # the heartbeat and a reader of the counter may be on two threads

    def install(self) -> None:
        """Put the table in force. It replaces an older table in one transaction."""
        run("nft", "-f", "-", stdin=self._script)
        self._earlier += self._asked
        self._asked = 0

    def heartbeat(self) -> None:
        """Renew the port's element. Make the table again if a reload of the firewall has flushed it."""
        try:
            with self._turn:
                self._netfilter.request(*self._renewal)
        except FileNotFoundError:  # ENOENT: no such table
            self.install()
        except OSError as error:
            raise nfnetlink.refused(f"heartbeat of nft table {self.table}", error) from error

    def asked(self) -> int:
        """Packets that matched the rules since the first install, including those beyond their source's limit."""
        key = _OBJECT.encode({"table": self.table, "name": "asked", "type": _OBJECT_COUNTER})
        try:
            with self._turn:
                answers = self._netfilter.request(_message(_GETOBJ, key, NLM_F_ACK))
            for answer in answers:
                self._asked = _OBJECT.decode(nfnetlink.content(answer))["data"]["packets"]
        except FileNotFoundError:
            pass  # the table was flushed; the next heartbeat makes it again
        except OSError as error:
            raise nfnetlink.refused(f"counter of nft table {self.table}", error) from error
        return self._earlier + self._asked

    def disarm(self) -> None:
        """Empty the set `alive`.

        The table stays until all packets have their verdict. When a chain is removed, the kernel drops every packet
        that waits in any queue of the network namespace (nf_unregister_net_hook), also in other programs' queues.
        """
        try:
            self._netfilter.request(*_batch(_message(_DELSETELEM, self._alive, NLM_F_ACK)))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise nfnetlink.refused(f"disarming of nft table {self.table}", error) from error

    def remove(self) -> None:
        """Delete the table and close the socket."""
        try:
            self._netfilter.request(*_batch(_message(_DELTABLE, _TABLE.encode({"name": self.table}), NLM_F_ACK)))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise nfnetlink.refused(f"removal of nft table {self.table}", error) from error
        finally:
            self._netfilter.close()


def _message(kind: int, attributes: bytes, flags: int = 0) -> Request:
    return nfnetlink.request(_SUBSYSTEM << 8 | kind, attributes, family=NFPROTO_INET, flags=flags)


def _batch(*requests: Request) -> tuple[Request, ...]:
    """A transaction: the kernel carries out all of the requests or none."""
    begin, end = (nfnetlink.request(kind, resource=_SUBSYSTEM) for kind in (_BATCH_BEGIN, _BATCH_END))
    return begin, *requests, end


def _renewal(table: str, port: int) -> tuple[Request, ...]:
    """Empty the set and put the port in, as one transaction.

    In older kernels, such as Linux 6.1, an existing element keeps its old timeout when it is added again, and deleting
    an expired element is an error. Emptying the set avoids both.
    """
    alive = {"table": table, "set": "alive"}
    elements = {"element": {"key": {"value": port}, "timeout": DEAD_AFTER * 1000}}
    return _batch(
        _message(_DELSETELEM, _ELEMENTS.encode(alive)),
        _message(_NEWSETELEM, _ELEMENTS.encode(alive | {"elements": elements}), NLM_F_CREATE | NLM_F_ACK),
    )
