"""A registry in a PostgreSQL database: the registry of record of a fleet.

The rules that matter are in the schema (`database/migrations`), so that they hold for whoever writes. This package
asks, words the errors, and keeps no state in a session: it works behind pgbouncer in transaction mode.

| module        | what is inside                                                                      |
| ------------- | ----------------------------------------------------------------------------------- |
| `store`       | PostgresStore: the gateway's side                                                   |
| `registry`    | PostgresRegistry: the side of commands and API, made of the next six modules        |
| `peers`       | registers, shows and changes peers                                                  |
| `claims`      | shows and resets claims                                                             |
| `tokens`      | the tokens for the HTTP API                                                         |
| `audit`       | the log of who changed what                                                         |
| `gateways`    | shows the gateways that share the registry                                          |
| `idempotency` | the kept answers of the HTTP API                                                    |
| `load`        | registers many peers at once                                                        |
| `spill`       | sorts the plain ones of them, also more than the memory holds                       |
| `rows`        | SQL statements on an open connection: peers, labels, handles, listings, pools       |
| `database`    | the database itself: its URL, schema, connections and errors                        |
"""
