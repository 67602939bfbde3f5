"""What people do with a registry, over the command line or the HTTP API.

| module          | what is inside                                                      |
| --------------- | ------------------------------------------------------------------- |
| `site`          | an interface's settings, and where its registry is                  |
| `imports`       | registers the peers that a reader found                             |
| `peer_readers`  | reads peers: JSON Lines, CSV, dumps, WireGuard configurations       |
| `file_kinds`    | tells what a file is, also if it is none of these                   |
| `dumps`         | reads the lines of `wg show ... dump`                               |
| `wg_config`     | reads a WireGuard configuration, line by line                       |
| `comment_names` | guesses a peer's name from comments                                 |
| `own_interface` | the `[Interface]` of a configuration                                |
| `own`           | the gateway's own key and addresses, which no peer may have         |
| `cells`         | a peer's fields as cells of CSV                                     |
| `records`       | tokens and the audit log as JSON objects                            |
| `client_config` | the configuration that a client gets                                |
"""
