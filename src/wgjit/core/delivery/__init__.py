"""Watches deliveries that may need a second step after the install.

| module    | what is inside                                                  |
| --------- | --------------------------------------------------------------- |
| `flips`   | watches flips: deliveries in which the gateway initiates        |
| `replays` | watches replays; a flip follows a replay that led to no session |
"""
