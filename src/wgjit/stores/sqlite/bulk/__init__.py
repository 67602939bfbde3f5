"""Registers many peers at once.

| module  | what is inside                                                                |
| ------- | ----------------------------------------------------------------------------- |
| `load`  | BulkLoad: peers are staged, checked as sets, and inserted in key order        |
| `rows`  | one peer at a time, for those in conflict                                     |
| `aside` | the work of a load on a second core: staging, sorting addresses               |
"""
