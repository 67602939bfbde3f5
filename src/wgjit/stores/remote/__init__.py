"""A remote registry: a service of the operator, which is asked for each key over HTTP (docs/REMOTE.md).

| module           | what is inside                                                                            |
| ---------------- | ----------------------------------------------------------------------------------------- |
| `store`          | RemoteStore: the gateway's side                                                           |
| `requests`       | one request a key at a time, within the budget, and few while the service is down         |
| `client`         | the HTTP requests                                                                         |
| `answer`         | the meaning of an answer                                                                  |
| `cached_answer`  | one answer, and how long it counts                                                        |
| `cache`          | answers and claims in one SQLite file: `migrations/NNNN_*.sql`                            |
| `negatives`      | keys that the service does not know                                                       |
| `renewal`        | when a gateway asks again for the peers that matter to it                                 |
| `events`         | the stream of events by which the service reports changes                                 |
| `request_budget` | how often the service is asked                                                            |
| `breaker`        | whether the service counts as down                                                        |
"""
