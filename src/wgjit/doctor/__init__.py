"""Finds out what this machine can do, and chooses the delivery.

| module   | what is inside                                                        |
| -------- | --------------------------------------------------------------------- |
| `probe`  | findings: what this machine, or an account on it, can do              |
| `trial`  | tries deliveries out, in a network namespace of its own               |
| `service` | from which address WireGuard would begin a handshake                  |
| `choice` | chooses the delivery from the findings, with the reason               |
"""
