"""Tells when a session has passed data: a packet from one of the peer's inner addresses came out of WireGuard.

| module          | what is inside                                                           |
| --------------- | ------------------------------------------------------------------------ |
| `packets`       | PacketConfirmations: an AF_PACKET socket on the WireGuard interface      |
| `watched`       | the watched peers, and which of them a source address belongs to         |
| `source_filter` | the socket's filter: a classic BPF program over the watched prefixes     |
"""
