"""Notices data of clients that the network has led here, while another gateway holds them.

| module     | what is inside                                                        |
| ---------- | --------------------------------------------------------------------- |
| `nft`      | NftStrays: a table of nftables on the way in, and its reports         |
| `reports`  | the messages of nfnetlink_log, by which the kernel reports a packet   |
| `source`   | from which address this machine sends                                 |
"""
