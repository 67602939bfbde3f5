"""The registry: which peers may connect, and their claims.

| module        | what is inside                                                            |
| ------------- | ------------------------------------------------------------------------- |
| `base`        | the protocols: Store, what a gateway needs; Registry, what people need    |
| `entries`     | the values that registries take and give                                  |
| `opening`     | where a registry is, and how it is opened there                           |
| `checks`      | rules and wording that every registry shares                              |
| `label_rules` | what a label may be                                                       |
| `peer_json`   | a peer as a JSON object: exports, the HTTP API, registries elsewhere      |
| `plain`       | plain peers as bytes: the fast way of imports                             |
| `sqlite`      | a registry in one file: the default                                       |
| `remote`      | a registry that is somebody else's service, with a cache                  |
"""
