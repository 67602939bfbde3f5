"""WireGuard in the kernel, by generic netlink.

| module     | what is inside                                            |
| ---------- | --------------------------------------------------------- |
| `device`   | KernelDevice                                              |
| `messages` | the messages as values                                    |
| `dump`     | decodes the messages of a crowded device quickly          |
"""
