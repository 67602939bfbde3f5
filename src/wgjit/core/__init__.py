"""Decisions, and nothing else: `handle(event, now) -> [command]`. No clock, no socket, no log, no await.

| module       | what is inside                                             |
| ------------ | ---------------------------------------------------------- |
| `vocabulary` | Event and Command: the words; start reading here           |
| `gateway`    | the order of the checks: one knock from capture to verdict |
| `agenda`     | the order in which what was heard and said is done         |
| `settings`   | what the operator decided                                  |
| `knock`      | a knock, from its arrival to the verdict                   |
| `residents`  | who is in the device, and how they leave it                |
| `delivery`   | deliveries after which something may be left to do         |
"""
