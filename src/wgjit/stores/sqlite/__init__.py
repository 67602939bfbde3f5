"""A registry in one SQLite file.

| module        | what is inside                                                            |
| ------------- | ------------------------------------------------------------------------- |
| `store`       | SqliteStore: a gateway's side                                             |
| `registry`    | SqliteRegistry: the people's side, made of the five below                 |
| `peers`       | all verbs that register, show and change peers                            |
| `claims`      | claims as people manage them                                              |
| `tokens`      | who may ask the HTTP API                                                  |
| `audit`       | who changed what                                                          |
| `idempotency` | what the HTTP API answered                                                |
| `cover`       | few prefixes that hold all registered addresses inside wider ones         |
| `rows`        | statements on an open connection: peers, claims, labels, listings, pools  |
| `bulk`        | many peers at once                                                        |
| `file`        | the file itself: its schema, and connections that heal                    |
"""
