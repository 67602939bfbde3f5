"""Fuzzers for all code that reads bytes from outside of wgjit: `./dev fuzz`, docs/FUZZING.md.

| module    | what it fuzzes, or what is inside                                                  |
| --------- | ---------------------------------------------------------------------------------- |
| `packets` | IP packets, handshake messages, initiations sealed around any content; the filter  |
| `pcap`    | capture files                                                                      |
| `netlink` | datagrams of the kernel: WireGuard's generic netlink, netfilter's queue, links     |
| `uapi`    | answers of userspace WireGuard                                                     |
| `corpus`  | reads the committed inputs                                                         |
| `engine`  | one fuzzer under atheris, in a process of its own                                  |

A fuzzer is a module. Its head states its invariant, and its `check(data)` raises if the invariant does not hold for the
input. The modules work without atheris, so that the unit tests can replay the committed corpus through `check`.
"""

from __future__ import annotations

FUZZERS = ("packets", "pcap", "netlink", "uapi")
