"""Copies a whole registry into an empty one, whatever keeps them: from a file into a database, and back.

A copy is exact, which is compared at the end. A copy that was interrupted, by whatever, goes on where it was.

| module     | what is inside                                                       |
| ---------- | -------------------------------------------------------------------- |
| `tables`   | what is copied, and the form in which rows are handed over           |
| `file`     | a registry file as the one or the other end of a copy                |
| `database` | a registry in PostgreSQL as the one or the other end of a copy       |
| `binary`   | prefixes and addresses in the binary forms of PostgreSQL's protocol  |
| `copy`     | the copy itself                                                      |
"""
