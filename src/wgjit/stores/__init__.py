"""The registry: which peers may connect, and their claims.

| module          | what is inside                                                              |
| --------------- | --------------------------------------------------------------------------- |
| `base`          | the protocols: Store, what a gateway needs; Roll, with reading all peers;   |
|                 | Registry, the operator's verbs                                              |
| `sqlite`        | SqliteStore, all of it in one file, the default; SqliteRegistry changes it  |
| `managed`       | ManagedRegistry: with what people need besides: all of the below            |
| `records`       | Records: the three below                                                    |
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
