"""Puts a copied knock back into the kernel.

| module   | what is inside                                                   |
| -------- | ---------------------------------------------------------------- |
| `inject` | ReplayInjector: by XDP's live frames, or by a raw socket         |
| `xdp`    | live frames by XDP's test run                                    |
| `mark`   | the mark by which a packet that was put back is recognised       |
"""
