"""wgjit: just-in-time WireGuard peers.

| room         | what is inside                                                                 |
| ------------ | ------------------------------------------------------------------------------ |
| `errors`     | every exception type: broken machinery, or a caller's mistake                  |
| `refusal`    | every expected "no" to a packet, one enum                                      |
| `notify`     | what systemd is told                                                           |
| `stderr`     | a standard error that neither raises nor waits                                 |
| `wire`       | bytes and values: keys, messages, the first Noise message, packets, the filter |
| `model`      | Peer, Claim, Registration: what the rooms tell one another                     |
| `times`      | durations and moments as people write them                                     |
| `record`     | FeedRecord: one initiation that was seen, a line of the feed                   |
| `core`       | decisions: `handle(event, now) -> [command]`; no clock, no socket              |
| `stores`     | the registry: which peers may connect, and their claims                        |
| `drivers`    | the kernel's edges: WireGuard device, capture, replay                          |
| `config`     | settings: where they come from, what they mean                                 |
| `control`    | what is said between a gateway and who asks it                                 |
| `doctor`     | what this machine can do                                                       |
| `adoption`   | an interface with all its peers becomes a just-in-time one, and back           |
| `management` | what people do with a registry                                                 |
| `daemon`     | where a command becomes an effect                                              |
| `feed`       | the feed in Python, with or without a gateway                                  |
| `api`        | the registry over HTTP                                                         |
| `cli`        | the command `wgjit`                                                            |

Start with `core/vocabulary.py`, then `core/gateway.py`, then `daemon/loop.py`.
"""
