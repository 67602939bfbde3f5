"""The kernel's edges: bytes and system calls on one side, the model's values on the other.

| module      | what is inside                                                                       |
| ----------- | ------------------------------------------------------------------------------------ |
| `base`      | the protocols Device, Capture, Injector that the daemon knows                        |
| `wireguard` | a WireGuard interface ("device"), in the kernel or in userspace                      |
| `capture`   | knocks, held in the kernel or copied                                                 |
| `replay`    | a copied knock put back                                                              |
| `netlink`   | netlink underneath all of these                                                      |
"""
