"""Admission and limits of connections and requests. Each is counted before the server spends work on it.

| module        | what is inside                                             |
| ------------- | ---------------------------------------------------------- |
| `listener`    | accepts connections and starts their TLS handshakes        |
| `places`      | who gets a connection, before the TLS handshake and after  |
| `protocol`    | HTTP/1.1 on one connection, with time limits               |
| `gate`        | checks and limits around each request                      |
| `scopes`      | the scope that each route declares                         |
| `segments`    | the segments of a path, each decoded once                  |
| `pace`        | reads a request's body within time limits                  |
| `rates`       | limits how often a caller or a source may ask              |
| `quota`       | limits what lasts long: streams, imports                   |
| `turns`       | limits requests at the same time; further ones wait        |
| `threads`     | the threads that work on the registry                      |
| `tenure`      | ends a request when its token is revoked or expires        |
| `descriptors` | limits open files, and divides them                        |
| `notices`     | logs repeated events with a few lines per minute           |
"""
