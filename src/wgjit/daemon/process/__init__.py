"""The process around the gateways.

| module    | what is inside                                                       |
| --------- | -------------------------------------------------------------------- |
| `serve`   | runs a gateway on each interface, in one process                     |
| `signals` | what each signal does                                                |
| `lock`    | a lock, so that each interface has one gateway only                  |
"""
