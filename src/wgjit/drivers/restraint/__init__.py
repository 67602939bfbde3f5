"""Keeps a gateway of a fleet from calling back clients that have moved to another gateway.

| module | what is inside                                         |
| ------ | ------------------------------------------------------ |
| `nft`  | NftRestraint: a table of nftables on the way out       |
"""
