"""The registry's file.

| module       | what is inside                                                               |
| ------------ | ---------------------------------------------------------------------------- |
| `schema`     | makes the tables of a file: `migrations/NNNN_*.sql`                          |
| `connection` | Link: a connection that opens the file again after an error                  |
| `errors`     | turns SQLite's error codes into StoreError and StoreBusy                     |
"""
