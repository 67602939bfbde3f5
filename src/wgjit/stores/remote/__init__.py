"""A registry elsewhere: the operator's own service, asked for each key over HTTP (docs/REMOTE.md).

| module      | what is inside                                                                       |
| ----------- | ------------------------------------------------------------------------------------ |
| `store`     | RemoteStore: a gateway's side                                                        |
| `requests`  | the questions: one a key at a time, within the budget, none to a service that is down |
| `client`    | the HTTP requests                                                                    |
| `answer`    | what an answer means                                                                 |
| `entry`     | one answer, and for how long it counts                                               |
| `cache`     | answers and claims in one SQLite file: `migrations/NNNN_*.sql`                       |
| `negatives` | keys that the service does not know                                                  |
| `renewal`   | when the answers for those who matter are asked for again                            |
| `events`    | the stream by which the service says what has changed                                |
| `budget`    | how often the service is asked                                                       |
| `breaker`   | whether the service counts as down                                                   |
"""
