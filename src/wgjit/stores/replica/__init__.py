"""The replica: a gateway's own copy of a fleet's registry of record, in a SQLite file.

The gateway works on the file alone, as on a registry of its own machine. A process of its own, the follower, keeps the
file like the registry of record, and hands on what the gateway says. So no packet ever waits for the database.

| module     | what is inside                                                                      |
| ---------- | ----------------------------------------------------------------------------------- |
| `store`    | ReplicaStore: the gateway's side of the file                                        |
| `fleet`    | ReplicaFleet: what the gateway says and hears, and what it knows of its follower    |
| `process`  | the follower as the gateway sees it: started, started again, told, asked, ended     |
| `anew`     | makes a replica anew that is damaged or gone                                        |
| `messages` | what gateway and follower say to each other                                         |
| `follower` | the follower itself                                                                 |
"""
