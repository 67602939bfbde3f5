"""The drivers for the kernel: bytes and system calls on one side, the values of `model` on the other.

| module      | what is inside                                                                       |
| ----------- | ------------------------------------------------------------------------------------ |
| `base`      | the protocols Device, Capture, Injector that the daemon uses                         |
| `wireguard` | WireGuard interfaces ("devices"), in the kernel or in userspace                      |
| `capture`   | captures knocks, held in the kernel or copied                                        |
| `replay`    | puts a copied knock back into the kernel                                             |
| `netlink`   | netlink, which all of these use                                                      |
"""
