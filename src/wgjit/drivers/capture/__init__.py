"""Knocks, held or copied.

| module           | what is inside                                                                  |
| ---------------- | ------------------------------------------------------------------------------- |
| `queue`          | NfqueueCapture: each knock waits in the kernel                                  |
| `queue_messages` | the queue's messages                                                            |
| `rules`          | the firewall rules that send knocks there, by nftables or by iptables           |
| `rules_nft`      | by nftables                                                                     |
| `rules_xt`       | by iptables                                                                     |
| `packet`         | PacketCapture: copies by AF_PACKET                                              |
| `datagrams`      | what both make of a packet                                                      |
"""
