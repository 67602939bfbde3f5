"""WireGuard interfaces ("devices"), in the kernel and in userspace.

| module      | what is inside                                                                       |
| ----------- | ------------------------------------------------------------------------------------ |
| `open`      | open_device: finds the interface of a name, of either kind                           |
| `kernel`    | KernelDevice, by generic netlink                                                     |
| `userspace` | UserspaceDevice, for wireguard-go, by its socket                                     |
| `interface` | makes and deletes interfaces; local addresses                                        |
| `listening` | whether an interface is up, and its socket in this network namespace                 |
| `recall`    | values of the last dump, so that unchanged bytes are not decoded again               |
| `checks`    | finds the caller's mistakes before anything is sent                                  |
| `translate` | turns errno into wgjit's errors                                                      |
"""
