"""The drivers for the kernel: bytes and system calls on one side, the values of `model` on the other.

| module          | what is inside                                                                   |
| --------------- | -------------------------------------------------------------------------------- |
| `base`          | the protocols that the daemon uses, such as Device and Capture                   |
| `wireguard`     | WireGuard interfaces ("devices"), in the kernel or in userspace                  |
| `capture`       | captures knocks, held in the kernel or copied                                    |
| `replay`        | puts a copied knock back into the kernel                                         |
| `confirm`       | tells when a session has passed data                                             |
| `restraint`     | keeps a fleet's gateway from calling back clients that have moved                |
| `routes`        | puts routes for residents into the kernel, and keeps them there                  |
| `strays`        | notices data of clients that the network has led here from another gateway       |
| `netlink`       | netlink, which the others use                                                    |
| `own_table`     | a table of nftables, for `restraint` and `strays`                                |
| `packet_socket` | AF_PACKET sockets with a filter                                                  |
"""
