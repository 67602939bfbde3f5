"""SQL statements on an open connection. The caller commits the transaction.

| module         | what is inside                                                 |
| -------------- | -------------------------------------------------------------- |
| `texts`        | values as PostgreSQL takes them                                |
| `peer_rows`    | a peer's rows, and the error texts for what the schema refuses |
| `registering`  | registers one peer by one call                                 |
| `loaded`       | registers one peer of an import                                |
| `gateway_rows` | what gateways write of themselves                              |
| `claim_rows`   | the statements that save claims and holdings                   |
| `labels`       | a peer's labels                                                |
| `handles`      | finds the peer that a person means                             |
| `listing`      | filters, pages, the search                                     |
| `pools`        | gives out addresses                                            |
"""
