"""What is said between a gateway and who asks it, on one machine.

| module   | what is inside                                             |
| -------- | ---------------------------------------------------------- |
| `socket` | where the gateway's Unix socket is, and what is said on it |
| `status` | a gateway's status: its fields, and their JSON form        |
| `client` | asking a running gateway: its status, its feed             |
"""
