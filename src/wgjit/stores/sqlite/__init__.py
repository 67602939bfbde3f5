"""A registry in one SQLite file.

| module        | what is inside                                                                      |
| ------------- | ----------------------------------------------------------------------------------- |
| `store`       | SqliteStore: the gateway's side                                                     |
| `registry`    | SqliteRegistry: the side of commands and API, made of the next six modules          |
| `peers`       | registers, shows and changes peers                                                  |
| `claims`      | shows and resets claims                                                             |
| `tokens`      | the tokens for the HTTP API                                                         |
| `audit`       | the log of who changed what                                                         |
| `gateways`    | the gateways that share the registry: none                                          |
| `idempotency` | the kept answers of the HTTP API                                                    |
| `rows`        | SQL statements on an open connection: peers, claims, labels, listings, pools        |
| `bulk`        | registers many peers at once                                                        |
| `file`        | the file itself: its schema, and connections that open it again after an error      |
"""
