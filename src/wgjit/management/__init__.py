"""What people do with a registry, by command line or HTTP API.

| module          | what is inside                                                      |
| --------------- | ------------------------------------------------------------------- |
| `site`          | which registry is meant, and what the configuration says of it      |
| `imports`       | peers that a reader found, into a registry                          |
| `peer_readers`  | peers out of text: JSON Lines, CSV, dumps, WireGuard configurations |
| `wg_config`     | a WireGuard configuration, line by line                             |
| `cells`         | a peer's fields as cells of CSV                                     |
| `records`       | tokens and the audit log as JSON objects                            |
| `client_config` | the configuration that a client gets                                |
"""
