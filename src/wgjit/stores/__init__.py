"""The registry: all peers that may connect, and their claims.

| module          | what is inside                                                                        |
| --------------- | ------------------------------------------------------------------------------------- |
| `base`          | the protocols: Store is what a gateway calls, Registry is what commands and API call  |
| `entries`       | the values that a registry takes and returns                                          |
| `opening`       | opens a registry at a given place                                                     |
| `checks`        | rules and error texts that all registries share                                       |
| `label_rules`   | the rules for labels                                                                  |
| `handle_rules`  | what the text of a handle may mean                                                    |
| `token_rules`   | tokens as texts and hashes                                                            |
| `audit_records` | what the audit log says of a change                                                   |
| `pages`         | the size of a page of peers, and its cursor                                           |
| `packing`       | peers and claims as columns, and back                                                 |
| `cover`         | finds few prefixes that hold all registered addresses inside a wider prefix           |
| `peer_json`     | a peer as a JSON object: for exports, the HTTP API and registries that are services   |
| `migrations`    | the migration scripts that a package brings with it                                   |
| `plain`         | plain peers as bytes: the fast way of imports                                         |
| `loading`       | an import's peers that are registered already                                         |
| `sqlite`        | a registry in one file: the default                                                   |
| `postgresql`    | a registry in a PostgreSQL database, for a fleet                                      |
| `replica`       | a gateway's own copy of a registry in PostgreSQL, and the process that keeps it       |
| `copying`       | copies a whole registry into an empty one, from a file into a database and back       |
| `remote`        | a registry that is a service of somebody else, with a cache                           |
"""
