"""Bytes <-> values: all that a packet on the wire can contain. No clock, no socket, no log.

| module     | what is inside                                                                      |
| ---------- | ----------------------------------------------------------------------------------- |
| `keys`     | PublicKey, PrivateKey, PresharedKey: three types that cannot be confused            |
| `addresses` | inner addresses and prefixes, as strictly as `wg` reads them                       |
| `endpoint` | Endpoint: an outer address and port                                                 |
| `tai64n`   | Tai64n: the timestamp in an initiation                                              |
| `packets`  | IP and UDP: `peel` takes a datagram out, `build` a packet, `finish_checksum`        |
| `messages` | initiation, response, cookie reply: their layout, without cryptography              |
| `noise`    | Responder: mac1, claimed key, proof. Initiator: the client's side                   |
| `kdf`      | BLAKE2s, HMAC, HKDF and ChaCha20-Poly1305 as the WireGuard paper names them         |
| `key_text` | finds keys in other people's texts                                                  |
| `cookie`   | cookie replies, XChaCha20-Poly1305                                                  |
| `bpf`      | the capture filter as classic BPF                                                   |
| `pcap`     | reads packets from a capture file                                                   |
| `links`    | takes the IP packet out of a link's frame                                           |
| `unread`   | why an initiation may be in a packet that is not read                               |

A knock passes through `packets`, `messages` and `noise`. Each step gives a value or a `Refusal`, never an exception.
"""
