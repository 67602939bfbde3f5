"""Bytes <-> values: everything that a packet on the wire can say, and nothing else. No clock, no socket, no log.

| module     | what is inside                                                                     |
| ---------- | ----------------------------------------------------------------------------------- |
| `keys`     | PublicKey, PrivateKey, PresharedKey: three types that cannot be mistaken            |
| `endpoint` | Endpoint: an outer address and port                                                 |
| `tai64n`   | Tai64n: the timestamp in an initiation                                              |
| `packets`  | IP and UDP: `peel` a datagram out, `build` a packet, `finish_checksum`              |
| `messages` | initiation, response, cookie reply: shape only                                      |
| `noise`    | Responder: mac1, claimed key, proof. Initiator: the client's side                   |
| `kdf`      | BLAKE2s, HMAC, HKDF and ChaCha20-Poly1305 as the WireGuard paper names them         |
| `key_text` | keys that stand in texts of others                                                 |
| `cookie`   | cookie replies, XChaCha20-Poly1305                                                  |
| `bpf`      | the capture filter as classic BPF                                                   |
| `pcap`     | packets out of a capture file                                                       |

A knock takes the way `packets` → `messages` → `noise`; at each step it is a value or a `Refusal`, never an exception.
"""
