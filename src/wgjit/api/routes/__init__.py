"""The routes of the API.

| module      | what is inside                                       |
| ----------- | ---------------------------------------------------- |
| `peers`     | peers, one at a time and in pages                    |
| `bulk`      | import and export of many peers, as lines of JSON    |
| `importing` | one import while its lines arrive                    |
| `streams`   | server-sent events: the feed, the changes            |
| `system`    | health, status, tokens, the audit log                |
| `gateway`   | the gateway's health, and its drain                  |
| `bodies`    | the models of requests and answers                   |
| `answers`   | what routes get as arguments, and how they answer    |
| `declared`  | routes and their scopes, as their files declare them |
| `handles`   | finds the peer that a path names                     |
| `etags`     | ETags of peers                                       |
"""
