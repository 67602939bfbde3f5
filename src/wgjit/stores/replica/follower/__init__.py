"""The follower: a process that keeps a replica like the registry of record, and hands on what its gateway says.

It is the only process of a gateway that speaks to the database. Start it with `python -m wgjit.stores.replica.follower`
and a socket as standard input; `process.Follower` does that. Its threads share nothing but the file and a report.

| module      | what is inside                                                                     |
| ----------- | ---------------------------------------------------------------------------------- |
| `main`      | the process: its threads, the socket to the gateway, its end                       |
| `following` | the copy, and then what is new, again and again                                    |
| `copy`      | the first copy, and repairs                                                        |
| `reading`   | what is read of the registry of record: what is new, ranges of keys, single keys   |
| `snapshot`  | which transactions of the registry of record were read                             |
| `file`      | what is written to the replica                                                     |
| `sending`   | hands on what the gateway says                                                     |
| `asking`    | asks for single keys that the replica does not have                                |
| `beating`   | the gateway's heartbeat, and the difference of the clocks                          |
| `sources`   | which server is read                                                               |
| `servers`   | connections that give up on a server that does not answer                          |
| `report`    | what the gateway is told                                                           |
"""
