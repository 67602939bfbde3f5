"""Captures knocks, held or copied.

| module           | what is inside                                                                  |
| ---------------- | ------------------------------------------------------------------------------- |
| `queue`          | NfqueueCapture: each knock waits in the kernel                                  |
| `queue_messages` | the queue's messages                                                            |
| `rules`          | what the firewall rules that send knocks to the queue have in common            |
| `rules_nft`      | these rules by nftables                                                         |
| `rules_xt`       | these rules by iptables                                                         |
| `packet`         | PacketCapture: copies by AF_PACKET                                              |
| `datagrams`      | reads many datagrams with one system call                                       |
"""
