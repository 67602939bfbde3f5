"""What people do with a registry, over the command line or the HTTP API.

| module          | what is inside                                                      |
| --------------- | ------------------------------------------------------------------- |
| `site`          | an interface's settings, and where its registry is                  |
| `imports`       | registers the peers that a reader found                             |
| `peer_readers`  | reads peers: JSON Lines, CSV, dumps, WireGuard configurations       |
| `wg_config`     | reads a WireGuard configuration, line by line                       |
| `cells`         | a peer's fields as cells of CSV                                     |
| `records`       | tokens and the audit log as JSON objects                            |
| `client_config` | the configuration that a client gets                                |
"""
