"""WireGuard in the kernel, by generic netlink.

| module     | what is inside                        |
| ---------- | ------------------------------------- |
| `device`   | KernelDevice                          |
| `messages` | its messages as values                |
| `dump`     | a crowd's messages, quickly           |
"""
