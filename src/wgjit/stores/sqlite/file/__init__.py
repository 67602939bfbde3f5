"""The registry's file.

| module       | what is inside                                                           |
| ------------ | ------------------------------------------------------------------------ |
| `schema`     | how a file comes to have its tables: `migrations/NNNN_*.sql`             |
| `connection` | Link: one connection that heals by itself                                |
| `errors`     | SQLite's error codes as StoreError and StoreBusy                         |
"""
