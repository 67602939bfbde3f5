"""Who gets in, and how much each may have: counted before anything is spent.

| module        | what is inside                                          |
| ------------- | ------------------------------------------------------- |
| `listener`    | connections let in                                      |
| `places`      | who gets a connection, before TLS and after it          |
| `protocol`    | HTTP/1.1 on one connection, with a time for each thing  |
| `gate`        | the way in and out of the application, for each request |
| `scopes`      | the scope that each route declares                      |
| `pace`        | a request's body, as it comes                           |
| `rates`       | how often somebody may ask                              |
| `quota`       | things that last: streams, imports                      |
| `turns`       | so many at once; who else comes waits                   |
| `threads`     | the threads that work on the registry                   |
| `tenure`      | a request ends with its token                           |
| `descriptors` | open files, and who gets how many of them               |
| `notices`     | trouble in the log: a few lines a minute at most        |
"""
