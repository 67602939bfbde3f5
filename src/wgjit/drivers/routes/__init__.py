"""Routes for residents, in the kernel's own tables: a routing daemon learns them there.

| module     | what is inside                                                       |
| ---------- | -------------------------------------------------------------------- |
| `kernel`   | KernelRoutes: changes in batches, dumps, and what others do to them  |
| `messages` | rtnetlink's messages for routes, and the filter for its news         |
"""
