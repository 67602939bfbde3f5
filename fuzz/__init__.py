"""Fuzzers for everything that reads bytes which somebody else wrote: `./dev fuzz`, docs/FUZZING.md.

| module    | reads                                                                              |
| --------- | ---------------------------------------------------------------------------------- |
| `packets` | IP packets, handshake messages, initiations sealed around any content; the filter  |
| `pcap`    | capture files                                                                      |
| `netlink` | datagrams of the kernel: WireGuard's generic netlink, netfilter's queue, links     |
| `uapi`    | answers of userspace WireGuard                                                     |
| `corpus`  | the committed inputs, and where they come from                                     |
| `engine`  | one fuzzer under atheris, in a process of its own                                  |

A fuzzer is a module whose head states its invariant and whose `check(data)` raises if the invariant does not hold for
that input. None of them needs atheris: the unit tests replay the committed corpus through the same `check`.
"""

from __future__ import annotations

FUZZERS = ("packets", "pcap", "netlink", "uapi")
