"""Statements on an open connection; the caller's transaction decides when they count.

| module       | what is inside                                                       |
| ------------ | -------------------------------------------------------------------- |
| `packing`    | peers and claims as columns, and back; no database in it             |
| `peer_rows`  | a peer's rows, and the words for what the schema refuses             |
| `claim_rows` | how a claim is saved                                                 |
| `labels`     | a peer's labels                                                      |
| `handles`    | which peer a person means                                            |
| `listing`    | filters, pages, the search                                           |
| `pools`      | giving out addresses                                                 |
"""
