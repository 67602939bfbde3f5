"""A knock, from its arrival to the verdict.

| module      | what is inside                                                                |
| ----------- | ----------------------------------------------------------------------------- |
| `admission` | what one source may ask for, what it is known for, what was seen a moment ago |
| `budget`    | how much arithmetic strangers may cause, shared out by reputation             |
| `door`      | the two before this, asked in the order of their cost                         |
| `knocks`    | the knocks that are under way, and which of them wait in the kernel           |
| `inquiries` | has a registration changed while a knock was decided by it?                   |
| `parking`   | proven knocks that cannot be answered yet                                     |
| `observe`   | what an initiation tells without any decision: watching, and offline          |
| `freshness` | was a knock made just now, or recorded and kept?                              |
| `claims`    | is this proof newer than the last one?                                        |
| `barred`    | who may not connect, though the registry knows, or knew, them                 |
"""
