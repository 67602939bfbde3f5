"""The process around the gateways.

| module    | what is inside                              |
| --------- | ------------------------------------------- |
| `several` | a gateway on each interface, in one process |
| `lock`    | one gateway per interface                   |
| `secrecy` | what keeps the process's memory to itself   |
"""
