"""The database: how it is reached, what its schema is, and what its errors mean.

| module       | what is inside                                                              |
| ------------ | --------------------------------------------------------------------------- |
| `url`        | the place of a database, a secret since it may hold a password              |
| `connection` | connections and transactions; a broken connection is replaced               |
| `patience`   | a connection that does not wait for ever for a server that hangs            |
| `schema`     | makes and migrates the schema, and checks its version                       |
| `errors`     | turns PostgreSQL's errors into errors that a person can act on              |
"""
