"""wgjit: just-in-time WireGuard peers.

| room      | what is inside                                                                      |
| --------- | ----------------------------------------------------------------------------------- |
| `errors`  | every exception type: broken machinery, or a caller's mistake                       |
| `refusal` | every expected "no" to a packet, one enum                                           |
| `wire`    | bytes <-> values: keys, messages, the first Noise message, packets, the filter      |
| `model`   | Peer, Claim, Registration, Resident, PeerChange: what the rooms tell one another    |
| `core`    | decisions: `handle(event, now) -> [command]`; no clock, no socket                   |
| `stores`  | the registry: which peers may connect, and their claims                             |
| `drivers` | the kernel's edges: WireGuard device, capture, injection                            |
| `daemon`  | where a command becomes an effect; the control socket                               |
| `cli`     | the command `wgjit`                                                                 |

Start with `core/vocabulary.py`, then `core/gateway.py`, then `daemon/loop.py`.
"""
