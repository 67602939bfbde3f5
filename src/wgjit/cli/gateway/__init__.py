"""Commands that ask or tell a running gateway something.

| module   | commands                                                              |
| -------- | --------------------------------------------------------------------- |
| `status` | `status`: its residents and counters                                  |
| `health` | `health`: whether it is fit to serve clients                          |
| `drain`  | `drain`, `undrain`: let its clients go elsewhere, and come back       |
"""
