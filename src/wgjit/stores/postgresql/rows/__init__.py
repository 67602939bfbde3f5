"""SQL statements on an open connection. The caller commits the transaction.

| module       | what is inside                                                       |
| ------------ | -------------------------------------------------------------------- |
| `texts`      | values as PostgreSQL takes them                                      |
| `peer_rows`  | a peer's rows, and the error texts for what the schema refuses       |
| `claim_rows` | the statement that saves claims                                      |
| `labels`     | a peer's labels                                                      |
| `handles`    | finds the peer that a person means                                   |
| `listing`    | filters, pages, the search                                           |
| `pools`      | gives out addresses                                                  |
"""
