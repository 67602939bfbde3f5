"""What can be asked.

| module      | what is inside                                       |
| ----------- | ---------------------------------------------------- |
| `peers`     | peers, one at a time and in pages                    |
| `bulk`      | many peers at once, as lines of JSON                 |
| `importing` | an import under way                                  |
| `streams`   | server-sent events: the feed, the changes            |
| `system`    | health, tokens, the audit log                        |
| `bodies`    | what the API takes and gives                         |
| `answers`   | what routes are given, and how they answer           |
| `declared`  | routes and their scopes, as their files declare them |
| `handles`   | a peer in a path                                     |
| `etags`     | ETags of peers                                       |
"""
