"""Decisions, and nothing else: `handle(event, now) -> [command]`. No clock, no socket, no log, no await.

| module       | concept                                                                    |
| ------------ | -------------------------------------------------------------------------- |
| `vocabulary` | Event and Command: the words                                               |
| `record`     | FeedRecord, Decision: one initiation seen, a line of the feed              |
| `observe`    | what an initiation tells without any decision: watching, and offline       |
| `gateway`    | the order of the checks: one knock from capture to verdict                 |
| `admission`  | who may make us work: limits and reputation per source, what was seen lately |
| `budget`     | how much arithmetic strangers may cause, shared out by reputation            |
| `door`       | the two before this, asked in the order of their cost                      |
| `claims`     | is this proof newer than the last one?                                     |
| `residency`  | who is installed right now, and which addresses are taken                  |
| `flips`      | the watch over deliveries in which the gateway initiates                   |
| `placeholder`| the peer that keeps registered addresses while their own peers are away    |
| `replays`    | the watch over replays: one of which no session came is followed by a flip |
"""
