"""The registry over HTTP: `wgjit api`, a process of its own beside the gateway.

The process needs no capability and does not hold the interface's private key, because the code that faces the web must
not run in the process that owns the device. It works on the registry file, and asks a running gateway over the control
socket.

| module       | what is inside                                            |
| ------------ | --------------------------------------------------------- |
| `app`        | the application: routes, error answers, the description   |
| `server`     | starts and ends the servers: listeners, TLS, signals      |
| `service`    | what all routes share                                     |
| `caller`     | who sends a request, and which scope it has               |
| `known_tokens` | tells a valid token by memory alone                     |
| `registries` | open registries for the threads                           |
| `changes`    | the registry's change log for all streams that follow it  |
| `health`     | whether the registry can be read                          |
| `problems`   | errors as problem details (RFC 9457)                      |
| `entrance`   | admission and limits of connections and requests          |
| `routes`     | the routes                                                |
"""
