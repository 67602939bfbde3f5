"""What is said between a gateway and who asks it, on one machine.

| module   | what is inside                                             |
| -------- | ---------------------------------------------------------- |
| `socket` | where the gateway's Unix socket is, and what is said on it |
| `client` | asking a running gateway: its status, its feed             |
"""
