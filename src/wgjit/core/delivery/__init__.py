"""The watch over deliveries after which something may be left to do.

| module    | what is inside                                              |
| --------- | ----------------------------------------------------------- |
| `flips`   | deliveries in which the gateway initiates                   |
| `replays` | replays: one of which no session came is followed by a flip |
"""
