"""A copied knock put back into the kernel.

| module   | what is inside                                                   |
| -------- | ---------------------------------------------------------------- |
| `inject` | ReplayInjector: by XDP's live frames, or by a raw socket         |
| `xdp`    | XDP's test run                                                   |
| `mark`   | how a packet that was put back is known again                    |
"""
