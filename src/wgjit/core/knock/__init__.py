"""The checks of a knock, from its arrival to the verdict.

| module      | what is inside                                                                     |
| ----------- | ---------------------------------------------------------------------------------- |
| `admission` | the rate and the reputation of each source, and initiations seen a moment ago      |
| `budget`    | a limit for the X25519 calls that strangers may cause, shared out by reputation    |
| `door`      | asks `admission` and `budget`, the cheapest check first                            |
| `knocks`    | the knocks that are under way, and which of them wait in the kernel                |
| `inquiries` | tells whether a registration changed while the gateway acted on it                 |
| `parking`   | proven knocks that cannot be answered yet                                          |
| `observe`   | opens an initiation without any decision: for watching, and offline                |
| `freshness` | tells a knock that was made just now from a recorded one                           |
| `claims`    | tells whether a proof is newer than the last one                                   |
| `barred`    | peers that may not connect: disabled, expired, or removed                          |
| `takeovers` | whether a client that another gateway serves is taken over                         |
"""
