"""Takes over clients that the network has led here from another gateway, without waiting for their own knock.

| module   | what is inside                                                       |
| -------- | -------------------------------------------------------------------- |
| `strays` | from a stray packet to the client's answer                           |
| `turns`  | limits: how often a client, a source and all together may be called  |
"""
