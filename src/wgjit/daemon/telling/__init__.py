"""What the log says of clients, and of trouble that looks like health.

| module     | what is inside                                                                     |
| ---------- | ---------------------------------------------------------------------------------- |
| `pace`     | how many lines may be written, for each peer and in all; what was left out          |
| `clients`  | one line each for clients that come, leave, are revoked or refused                 |
| `troubles` | one warning for a trouble as a whole, with counts, and what `wgjit status` shows of it |
| `losses`   | asks the capture how many packets it has lost                                      |
| `words`    | what is told to people: why, and what to do                                        |

docs/TROUBLE.md has every line of the log, with what it means.
"""
