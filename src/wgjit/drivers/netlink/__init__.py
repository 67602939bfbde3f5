"""Netlink without a library: a library was 40 times slower here, and cannot be used inside an event loop.

| module      | what is inside                              |
| ----------- | ------------------------------------------- |
| `codec`     | messages, attributes by table               |
| `socket`    | a socket, and the kernel's errors           |
| `generic`   | generic netlink: families                   |
| `netfilter` | netfilter netlink: its header, a socket     |
| `nftables`  | messages of nftables                        |
| `route`     | rtnetlink: links, addresses, routes         |
"""
