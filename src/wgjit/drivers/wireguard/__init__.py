"""A WireGuard interface ("device"), and the two ways to speak to one.

| module      | what is inside                                                                       |
| ----------- | ------------------------------------------------------------------------------------ |
| `open`      | open_device: whatever stands behind a name                                           |
| `kernel`    | KernelDevice, by generic netlink                                                     |
| `userspace` | UserspaceDevice, wireguard-go by its socket                                          |
| `interface` | interfaces made and taken away, local addresses                                      |
| `recall`    | what the last dump told, so that what has not changed is not read again              |
| `checks`    | the caller's mistakes, found before anything is sent                                 |
| `translate` | errno to our errors, once                                                            |
"""
