"""The registry: which peers may connect, and their claims.

| module          | what is inside                                                              |
| --------------- | --------------------------------------------------------------------------- |
| `base`          | the protocols: Store, what a gateway needs; Registry, what people need,     |
|                 | with Peers, Claims, Tokens, Audit and Answers                               |
| `entries`       | the values that registries take and give                                    |
| `opening`       | where a registry is, and how it is opened there                             |
| `sqlite`        | SqliteStore: a gateway's side of a registry file                            |
| `registry`      | SqliteRegistry: the people's side of it                                     |
| `peers`         | its Peers: all verbs that register, show and change peers                   |
| `claims`        | its Claims; `claim_rows` has the statement that saves one                   |
| `rows`          | a registered peer's rows, and the words for what the schema refuses         |
| `audit`         | who changed what                                                            |
| `tokens`        | who may ask the HTTP API                                                    |
| `idempotency`   | what it answered                                                            |
| `handles`       | which peer a person means                                                   |
| `labels`        | `team=infra`                                                                |
| `listing`       | filters, pages, the search                                                  |
| `pools`         | giving out addresses                                                        |
| `bulk`          | BulkLoad: many peers at once, staged, checked as sets, inserted sorted      |
| `bulk_aside`    | what a bulk load does on a second core: staging, sorting addresses          |
| `schema`        | how a file comes to have its tables: `migrations/NNNN_*.sql`                |
| `connection`    | Link: one connection that heals by itself                                   |
| `packing`       | peers and claims <-> columns                                                |
| `checks`        | rules and wording that every registry shares                                |
| `sqlite_errors` | SQLite's error codes -> StoreError, StoreBusy                               |
"""
