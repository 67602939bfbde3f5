"""Many peers at once.

| module  | what is inside                                                                |
| ------- | ----------------------------------------------------------------------------- |
| `load`  | BulkLoad: staged, checked as sets, inserted sorted                            |
| `aside` | what a load does on a second core: staging, sorting addresses                 |
"""
