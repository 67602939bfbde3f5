"""What all registries share of an import, beside `plain`.

| module  | what is inside                                                                    |
| ------- | --------------------------------------------------------------------------------- |
| `again` | a peer of an import that is registered already, or whose name is taken            |
"""
