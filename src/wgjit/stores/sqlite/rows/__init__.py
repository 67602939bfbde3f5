"""SQL statements on an open connection. The caller commits the transaction.

| module         | what is inside                                                 |
| -------------- | -------------------------------------------------------------- |
| `peer_rows`    | a peer's rows, and the error texts for what the schema refuses |
| `claim_rows`   | the statement that saves a claim                               |
| `holding_rows` | who holds a peer, and what has to be said of it                |
| `labels`       | a peer's labels                                                |
| `handles`      | finds the peer that a person means                             |
| `listing`      | filters, pages, the search                                     |
| `pools`        | gives out addresses                                            |
"""
