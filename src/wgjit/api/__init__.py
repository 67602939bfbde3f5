"""The registry over HTTP: `wgjit api`, a process of its own beside the gateway.

It needs no capability and holds no private key of the interface: the code that faces the web is not in the process that
owns the device. It works on the registry file, and asks a running gateway through its control socket.

| module       | what is inside                                        |
| ------------ | ----------------------------------------------------- |
| `app`        | the application: routes, and what their errors become |
| `server`     | from nothing to a served socket, and back             |
| `service`    | what all routes share                                 |
| `caller`     | who asks, and what they may                           |
| `registries` | open registries for the threads                       |
| `changes`    | the registry's change log for all who follow it       |
| `health`     | can the registry be read?                             |
| `problems`   | what goes wrong, as problem details (RFC 9457)        |
| `entrance`   | who gets in, and how much each may have               |
| `routes`     | what can be asked                                     |
"""
