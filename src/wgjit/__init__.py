"""wgjit: just-in-time WireGuard peers.

| package        | what is inside                                                                        |
| -------------- | ------------------------------------------------------------------------------------- |
| `errors`       | all exception types                                                                   |
| `refusal`      | all reasons to refuse a packet, one enum                                              |
| `notify`       | messages to systemd                                                                   |
| `secrecy`      | keeps a process's memory from other processes and from core dumps                     |
| `stderr`       | a standard error that neither raises nor waits                                        |
| `run_folder`   | the folder of running gateways' sockets                                               |
| `wire`         | bytes and values: keys, messages, the first Noise message, packets, the filter        |
| `model`        | Peer, Claim, Registration: the values that the packages hand to one another           |
| `times`        | durations and moments as people write them                                            |
| `database_url` | the URL of a PostgreSQL database, a secret                                            |
| `record`       | FeedRecord: one initiation that was seen, a line of the feed                          |
| `core`         | all decisions of a gateway: `handle(event, now) -> [command]`; no clock, no socket    |
| `stores`       | registries: which peers may connect, and their claims                                 |
| `drivers`      | the interface to the kernel: WireGuard devices, capture, replay                       |
| `config`       | settings, from files and variables                                                    |
| `control`      | the gateway's control socket: what is said on it, and how it is asked                 |
| `doctor`       | what this machine can do                                                              |
| `adoption`     | registers the peers of a full interface, and installs all registered peers again      |
| `management`   | what people do with a registry: import, export, a client's configuration              |
| `daemon`       | the gateway's process: it turns the core's commands into effects                      |
| `feed`         | the feed in Python, with or without a gateway                                         |
| `api`          | the registry over HTTP                                                                |
| `cli`          | the command `wgjit`                                                                   |

Start with `core/vocabulary/`, then `core/gateway.py`, then `daemon/loop.py`.
"""
