"""What this machine can do, and what wgjit makes of it.

| module   | what is inside                                                        |
| -------- | --------------------------------------------------------------------- |
| `probe`  | what this machine can do                                              |
| `trial`  | tried out in a namespace of its own                                   |
| `choice` | which delivery that comes to, and why                                 |
"""
