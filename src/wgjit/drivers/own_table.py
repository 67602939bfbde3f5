"""A table of nftables that is this process's own: made by the program `nft`, then changed and read by netlink.

A reload of the firewall may flush it at any time, or only its rules. Changes of a table that is gone do nothing, and
`heartbeat` makes it again. Whatever was in its sets is lost then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from wgjit.drivers.capture.rules import run
from wgjit.drivers.netlink import netfilter as nfnetlink
from wgjit.drivers.netlink import nftables
from wgjit.drivers.netlink.netfilter import Request
from wgjit.wire.endpoint import Endpoint


class OwnTable:
    """See the head of this file. Raises CaptureError, NotPermitted."""

    def __init__(self, name: str, script: str, counter: str) -> None:
        """`script`: the table for `nft`, which replaces an older one. `counter`: the name of a counter in it."""
        self.name = name
        self._script = script
        self._counter = nftables.read_counter(name, counter)
        self._earlier = self._counted = self._rules = 0
        self._netfilter = nfnetlink.NetfilterSocket()
        try:
            self._install()
        except BaseException:
            self._netfilter.close()
            raise

    def _install(self) -> None:
        run("nft", "-f", "-", stdin=self._script)
        self._earlier += self._counted
        self._counted = 0
        self._rules = self._count_rules()

    def _count_rules(self) -> int:
        try:
            return len(self._netfilter.dump(nftables.list_rules(self.name)))
        except OSError as error:
            raise nfnetlink.refused(f"nft table {self.name}: its rules", error) from error

    def change(self, what: str, *requests: Request) -> None:
        """Carry out all of these requests or none. `what` names them in an error."""
        try:
            self._netfilter.request(*nftables.transaction(*requests))
        except FileNotFoundError:
            pass  # the table was flushed; the next heartbeat makes it again
        except OSError as error:
            raise nfnetlink.refused(f"nft table {self.name}: {what}", error) from error

    def heartbeat(self) -> bool:
        """Read the counter. If the table is gone, or a rule of it, make it again. Returns whether that was so."""
        try:
            for answer in self._netfilter.request(self._counter):
                self._counted = nftables.counted(nfnetlink.content(answer))
            if self._count_rules() == self._rules:
                return False
        except FileNotFoundError:  # ENOENT: no such table
            pass
        except OSError as error:
            raise nfnetlink.refused(f"nft table {self.name}", error) from error
        self._install()
        return True

    def counted(self) -> int:
        """The packets of the counter since the beginning, as of the last heartbeat."""
        return self._earlier + self._counted

    def close(self) -> None:
        """Delete the table and close the socket. Packets that wait in a queue of this network namespace are lost."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._netfilter.request(*nftables.transaction(nftables.delete_table(self.name)))
        except OSError as error:
            raise nfnetlink.refused(f"removal of nft table {self.name}", error) from error
        finally:
            self._netfilter.close()


def by_version(endpoints: Iterable[Endpoint], together: int) -> Iterator[tuple[int, dict[bytes, Endpoint]]]:
    """The keys of endpoints in sets of `addr . port`: IP version, and some at a time, each once, with its endpoint."""
    sets: dict[int, dict[bytes, Endpoint]] = {4: {}, 6: {}}
    for endpoint in endpoints:
        plain = endpoint.unmapped
        version = 4 if len(plain.address) == 4 else 6
        keys = sets[version]
        keys[plain.address + plain.port.to_bytes(2, "big") + b"\0\0"] = endpoint  # each part is padded to four bytes
        if len(keys) == together:
            yield version, keys
            sets[version] = {}
    yield from ((version, keys) for version, keys in sets.items() if keys)
